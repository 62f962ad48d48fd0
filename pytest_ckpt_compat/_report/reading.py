"""A run, read back from its JSON report."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.rules import BY_ID
from pytest_ckpt_compat._report.findings import Finding
from pytest_ckpt_compat._report.forms import Form, require
from pytest_ckpt_compat._report.html.packed import unpacked
from pytest_ckpt_compat._report.json import SCHEMA, written_by
from pytest_ckpt_compat._report.migrations import Migrations
from pytest_ckpt_compat._report.overview import STATES
from pytest_ckpt_compat._report.summary import Entry, Run

_REDO = "write it with ckpt-compat check --report FILE.json"

#: Severities of which no change is, by the state of its checkpoint; where a state is not here, ``_FAILING``.
_FAILING = frozenset((Severity.ERROR.value, Severity.INCOMPLETE.value))
#: States of what is not compatible by its own word, or of which nobody knows.
_STATES_BY = {False: ("broken", "unknown"), None: ("skipped", "unknown")}
_DENIED_BY = {"broken": frozenset[str](), "unknown": frozenset((Severity.ERROR.value,))}

_MAYBE: Form = (str, type(None))
_SIDE: Form = {"source": str, "tensors": (int, type(None)), "digest": _MAYBE}
_CHANGE: Form = {
    "rule": frozenset(("", *BY_ID)),
    "kind": str,
    "severity": _MAYBE,
    "old": [str],
    "new": [str],
    "old_specs": [str],
    "new_specs": [str],
    "detail?": str,
}
_FINDING: Form = {
    **{each.name: str for each in fields(Finding)},
    "rule": frozenset(BY_ID),
    "severity": frozenset(each.value for each in Severity),
}
_RULE: Form = {"pattern": str, "used": bool, "taken_by": str}
_CHECKPOINT: Form = {
    "id": str,
    "state": frozenset(STATES),
    "compatible": (bool, type(None)),
    "headline": str,
    "text": str,
    "where": str,
    "hints?": [str],
    "findings?": [_FINDING],
    "old": _SIDE,
    "new": _SIDE,
    "changes": [_CHANGE],
    "notes": [str],
    "by_settings?": [str],
    "migrations?": [{"name": str, "changed": bool, "rules": [_RULE]}],
    "repaired_by?": [str],
    "page?": str,
}
_REPORT: Form = {
    "compatible": bool,
    "compared": str,
    "against": _MAYBE,
    "migrations": {"broken": [str], "repaired": dict, "unused": [str]},
    "failures": [str],
    "settings": [str],
    "registered": [str],
    "deselected": [str],
    "checkpoints": [_CHECKPOINT],
}


def read(name: str) -> Run:
    """The run whose JSON report is in a file.

    Raises:
        ReadError: the file cannot be read, is no such report, or one of another version.
    """
    try:
        text = files.read_text(Path(name), files.REPORT_BYTES)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ReadError(name, f"cannot be read: {why}", "check the path") from None
    return loads(text, name)


def loads(text: str, shown: str) -> Run:
    """The run in the text of a JSON report.

    Args:
        text: of the report.
        shown: the name under which errors speak of it.

    Raises:
        ReadError: it is no such report, or one of another version.
    """
    try:
        data = json.loads(text.removeprefix("\ufeff"))  # some shells write this mark
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "schema" not in data or not isinstance(data.get("checkpoints"), list):
        raise ReadError(shown, "is not a report on all checkpoints", _REDO)
    if data["schema"] != SCHEMA or data.get("written_by") != written_by():
        other = data.get("written_by") or "an earlier version"
        problem = f"was written by {other}, and this is {written_by()}"
        if data["schema"] != SCHEMA and other == written_by():
            problem = f"is of schema {visible(str(data['schema']))}, and {written_by()} reads {SCHEMA}"
        raise ReadError(shown, problem, "write and read reports with one version")
    try:
        require(data, _REPORT)
        require(list(data["migrations"]["repaired"].values()), [[str]], "migrations.repaired")
        require(data["migrations"].get("accepted", []), [str], "migrations.accepted")
        run = _run(data)
    except ValueError as error:
        raise ReadError(shown, f"is a report with something in it that none has: {error}", _REDO) from None
    if data.get("compatible") is False and run.checked and not run.of("broken"):
        raise ReadError(shown, "is not compatible by its own word, and no checkpoint in it says why", _REDO)
    return run


def _run(data: Mapping[str, Any]) -> Run:
    _require_entries(data)
    done = data["migrations"]
    repaired = {str(name): tuple(ids) for name, ids in done["repaired"].items()}
    return Run(
        tuple(map(_entry, data["checkpoints"])),
        visible(data["compared"]),
        visible(data["against"] or ""),
        Migrations(tuple(done["broken"]), repaired, _shown(done["unused"]), tuple(done.get("accepted", ()))),
        _shown(data["failures"]),
        _shown(data["settings"]),
        tuple(data["registered"]),
        tuple(data["deselected"]),
    )


def _require_entries(data: Mapping[str, Any]) -> None:
    """Raises ValueError if something registered is not told of, or is told of better than its changes are."""
    silent = set(data["registered"]) - {each["id"] for each in data["checkpoints"]}
    if silent:
        raise ValueError(f"it says nothing of {visible(min(silent))}, which is registered")
    for each in data["checkpoints"]:
        worst = {change["severity"] for change in each["changes"]} & _DENIED_BY.get(each["state"], _FAILING)
        if worst:
            raise ValueError(
                f"{visible(each['id'])} is {each['state']}, and has a change that is {min(worst)}"
            )
        if each["state"] not in _STATES_BY.get(each["compatible"], STATES):
            raise ValueError(f"{visible(each['id'])} is {each['state']}, and not compatible by its own word")


def _shown(lines: Collection[str]) -> tuple[str, ...]:
    return tuple(map(visible, lines))


def _entry(data: Mapping[str, Any]) -> Entry:
    for side in (data["old"], data["new"]):
        if (side["digest"] is None) is not (side["tensors"] is None):
            raise ValueError(f"{data['id']} has a digest and no number of tensors, or no digest")
    own = {each.name for each in fields(Entry)} - {"data"}
    rest = {name: value for name, value in data.items() if name not in own}
    if "by_settings" in rest:
        rest["by_settings"] = list(_shown(rest["by_settings"]))
    return Entry(
        data["id"],
        data["state"],
        visible(data["headline"]),
        "\n".join(map(visible, data["text"].split("\n"))),
        data["where"],
        rest,
        _shown(data.get("hints", ())),
        tuple(data.get("findings", ())),
        unpacked(data["page"]) if "page" in data else {},
    )
