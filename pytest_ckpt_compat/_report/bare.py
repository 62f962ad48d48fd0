"""A plain report, without folding or phrases, for when the full one cannot be made."""

from __future__ import annotations

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._core.verdict import Verdict


def report(verdict: Verdict, error: Exception) -> str:
    """A line for each change, and one that names what failed."""
    lines = [f"  {visible(_line(change))}" for change in verdict.changes]
    note = f"writing the report failed; the changes are complete: {located(error)}; please report it"
    return "\n".join([headline(verdict), "", *lines, f"  note: {visible(note)}"])


def headline(verdict: Verdict) -> str:
    """``CK103 v1: 36 changes``: the worst rule, the checkpoint, and how many changes."""
    name = verdict.name or verdict.old_label
    failing = (*verdict.of(Severity.ERROR), *verdict.of(Severity.INCOMPLETE), *verdict.changes)
    rule = failing[0].rule if failing else "OK"
    return visible(f"{rule} {name}: {len(verdict.changes)} changes")


def _line(change: Change) -> str:
    severity = change.severity.value if change.severity else ""
    keys = f"{', '.join(change.old)} -> {', '.join(change.new)}" if change.old or change.new else ""
    return " ".join(part for part in (change.rule, change.kind, severity, keys, change.detail) if part)
