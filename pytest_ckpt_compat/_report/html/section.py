"""What a page shows of one verdict, as plain data: rows by severity, advice, commands, code and trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._core.rules import BY_ID, advice_of
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.html.data import trees
from pytest_ckpt_compat._report.rows import Row, rows

#: Rows of a severity that are listed; the trees have all of them.
_MOST = 60
_TITLES: dict[Severity, str] = {
    Severity.ERROR: "Breaks",
    Severity.INCOMPLETE: "Could not be checked",
    Severity.EXISTING: "Broke before",
    Severity.WARNING: "Loads, but look at it",
    Severity.ACCEPTED: "Accepted",
    Severity.IGNORED: "Ignored by the project's settings",
}


def section(verdict: Verdict) -> dict[str, Any]:
    """What a page shows of a verdict, besides its text; what cannot be made is left out, and said."""
    found = described(verdict)
    try:
        with garbage_collection_paused():
            found |= {"groups": list(_groups(verdict)), "trees": trees(verdict)}
    except Exception as error:  # the text has the changes
        found["notes"].append(f"drawing the trees failed: {located(error)}; please report it")
    return found


def described(verdict: Verdict) -> dict[str, Any]:
    """What a page shows without rows and trees."""
    return {
        "old": visible(verdict.old_label),
        "new": visible(verdict.new_label),
        "tensors": [None if each is None else len(each.tensors) for each in (verdict.old, verdict.new)],
        "groups": [],
        "advice": list(_advice(verdict)),
        "commands": [[label, visible(command)] for label, command in verdict.repairs],
        "migrations": list(_migrations(verdict)),
        "code": "\n".join(map(visible, verdict.code.splitlines())),
        "proof": verdict.proof,
        "notes": [visible(note) for note in (*verdict.by_settings, *verdict.notes)],
        "trees": "",
    }


def _groups(verdict: Verdict) -> Iterator[dict[str, Any]]:
    """The rows of the text report, by severity."""
    found = rows(verdict)
    for severity, title in _TITLES.items():
        members = [row for row in found if row.severity is severity]
        if members:
            yield {
                "title": title,
                "severity": severity.value,
                "rows": [_row(row) for row in members[:_MOST]],
                "more": len(members[_MOST:]),
            }


def _row(row: Row) -> dict[str, Any]:
    return {
        "rule": row.rule,
        "word": BY_ID[row.rule].kind.replace("-", " "),
        "sign": row.sign,
        "subject": row.subject,
        "parts": row.subject.split(" -> ") if row.tensors else [],
        "note": row.note,
    }


def _advice(verdict: Verdict) -> Iterator[dict[str, Any]]:
    """What to do about what fails, with the rules that it is about."""
    rules: dict[str, dict[str, None]] = {}
    for change in verdict.of(Severity.ERROR):
        rules.setdefault(advice_of(change), {})[change.rule] = None
    for text, names in rules.items():
        if text:
            yield {"rules": list(names), "text": visible(text)}


def _migrations(verdict: Verdict) -> Iterator[str]:
    """What the registered migrations do, a line each."""
    applied = verdict.migrated.applied if verdict.migrated is not None else ()
    for each in applied:
        what = "changes the checkpoint before the load" if each.changed else "changes nothing"
        brought = ", and this branch brings it" if each.name in verdict.repaired_by else ""
        yield visible(f"{each.name} {what}{brought}")
