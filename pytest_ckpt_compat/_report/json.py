"""The report for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from pytest_ckpt_compat._core.changes import Change, moves
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._snapshots.fingerprint import digest

#: Version of the JSON report; it grows when a program that reads the report would have to change.
SCHEMA = 1


def written_by() -> str:
    """The program and its version."""
    return f"pytest-ckpt-compat {version('pytest-ckpt-compat')}"


def render(verdict: Verdict) -> str:
    """The verdict as JSON text; exact key names, escaped to ASCII."""
    return json.dumps(as_data(verdict), indent=2)


def as_data(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain data, in the documented form of the JSON report."""
    rules, notes = _rules_or_note(verdict)
    return {
        "schema": SCHEMA,
        "compatible": verdict.compatible,
        "old": _side(verdict.old, verdict.old_label),
        "new": _side(verdict.new, verdict.new_label),
        "counts": dict(Counter(change.kind for change in verdict.changes)),
        "changes": [_change(change) for change in verdict.changes],
        "rules": rules,
        "notes": [*verdict.notes, *notes],
        **({"by_settings": list(verdict.by_settings)} if verdict.by_settings else {}),
        **_migrations(verdict),
    }


def _migrations(verdict: Verdict) -> dict[str, Any]:
    """What each registered migration did, and which of them the branch brings; {} where there is none."""
    applied = verdict.migrated.applied if verdict.migrated is not None else ()
    found: dict[str, Any] = {}
    if applied:
        found["migrations"] = [
            {"name": each.name, "changed": each.changed, "rules": [asdict(rule) for rule in each.rules]}
            for each in applied
        ]
    if verdict.repaired_by:
        found["repaired_by"] = list(verdict.repaired_by)
    return found


def _rules_or_note(verdict: Verdict) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        return _rules(verdict), []
    except Exception as error:  # the rules only sum up the changes, which are complete
        return [], [f"summing up the renames as rules failed: {located(error)}; please report it"]


def _rules(verdict: Verdict) -> list[dict[str, Any]]:
    """The renaming rules, as few as found, each with exactly the pairs of keys that it explains."""
    if not verdict.old or not verdict.new or not verdict.changes:
        return []
    from pytest_ckpt_compat._renames import RenamePattern, rename_patterns

    moved = [change for change in verdict.changes if moves(change)]
    found = rename_patterns(moved, verdict.old.tensors, verdict.new.tensors)
    single = [RenamePattern(old, new, ((old, new),)) for old, new in found.exceptions]
    return [
        {"old": rule.old, "new": rule.new, "matches": [list(pair) for pair in rule.matches]}
        for rule in (*found.patterns, *single)
    ]


def _side(structure: Structure | None, label: str) -> dict[str, Any]:
    if structure is None:
        return {"source": label, "tensors": None, "digest": None}
    return {"source": label, "tensors": len(structure.tensors), "digest": digest(structure)}


def _change(change: Change) -> dict[str, Any]:
    data: dict[str, Any] = {
        "rule": change.rule,
        "kind": change.kind,
        "severity": change.severity.value if change.severity else None,
        "old": list(change.old),
        "new": list(change.new),
        "old_specs": [str(spec) for spec in change.old_specs],
        "new_specs": [str(spec) for spec in change.new_specs],
        "confidence": change.confidence,
    }
    optional = {
        "group": change.group,
        "detail": change.detail,
        "advice": change.advice,
        "evidence": list(change.evidence),
        "candidates": list(change.candidates),
        "rivals": list(change.rivals),
        "reason": change.reason,
    }
    return data | {name: value for name, value in optional.items() if value}
