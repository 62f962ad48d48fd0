"""A verdict as single findings, one a row, each with a fingerprint, for tools that collect findings."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._core.rules import BY_ID, advice_of
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.rows import Row
from pytest_ckpt_compat._snapshots.accepted import facts

#: What differs between two runs that find the same: places in files and in memory, the commit that a branch
#: left, numbers that were measured, and the folders of a machine.
_PASSING = re.compile(
    r"\b(?:line|column) \d+|\(merge base [0-9a-f]+\)|\b0x[0-9a-f]+"
    r"|\b\d+\.\d+(?:e[+-]?\d+)?|\b\d+e[+-]?\d+"
    r"|(?<![\w.:/\\])(?:[a-z]:)?[/\\](?:[^\s:;,()'\"/\\]+[/\\])+",
    re.IGNORECASE,
)
_OPEN = (Severity.ERROR, Severity.INCOMPLETE, Severity.WARNING)


@dataclass(frozen=True)
class Finding:
    """One row of a report, for a tool that shows it alone.

    Attributes:
        rule: id of the rule.
        severity: value of the row's severity.
        text: the row, safe to print.
        advice: what to do, in one line, or "".
        reason: why it is accepted, or the reference that has it too, or "".
        state: ``unchanged`` for what the merge base's code has too, ``new`` for a changed setting that it was
            asked about and does not have; "" otherwise.
        where: file and line on which the definition's code names what the row is about
            (``models/net.py:12``); "" where that is not known, or several.
        fingerprint: hexadecimal digits that stay for the same change of the same checkpoint: they depend on
            keys, shapes and dtypes, and not on lines, machines, or what else a run finds.
    """

    rule: str
    severity: str
    text: str
    advice: str
    reason: str
    fingerprint: str
    state: str = ""
    where: str = ""

    @property
    def open(self) -> bool:
        """Whether it is of a severity of which something is to be done."""
        return Severity(self.severity) in _OPEN

    def as_data(self) -> dict[str, Any]:
        """The finding as JSON holds it; ``Finding(**data)`` restores it."""
        return asdict(self)


def of_rows(verdict: Verdict, rows: Iterable[Row]) -> Iterator[Finding]:
    """One finding for each row of a verdict's folded report."""
    known: dict[str, int] = {}
    for row in rows:
        first = row.changes[0]
        digest = _fingerprint(verdict.name, row.changes)
        known[digest] = known.get(digest, 0) + 1
        if known[digest] > 1:  # the same words twice
            digest = _digest([digest, str(known[digest])])
        yield Finding(
            rule=row.rule,
            severity=row.severity.value,
            text="   ".join(part for part in (row.subject, row.note) if part),
            advice=advice_of(first),
            reason=first.reason,
            fingerprint=digest,
            state=_state(verdict, row),
            where=_where(verdict, row),
        )


def _state(verdict: Verdict, row: Row) -> str:
    if row.severity is Severity.EXISTING:
        return "unchanged"
    asked = verdict.settings_asked and all(each.kind == "settings-changed" for each in row.changes)
    return "new" if asked and row.severity is Severity.WARNING else ""


def _where(verdict: Verdict, row: Row) -> str:
    """The one line that names all that a row is about, or what holds it."""
    lines = verdict.new.lines if verdict.new is not None else {}
    found = {named_at(lines, key) for change in row.changes for key in change.new}
    return found.pop() if len(found) == 1 else ""


def named_at(lines: Mapping[str, str], key: str) -> str:
    """The line of what has a key, or of the innermost module around it that has one; "" for none."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key, "")


def failed(verdict: Verdict, error: Exception) -> Finding:
    """What stands for a verdict whose rows could not be made."""
    text = f"{located(error)}; the text report has the verdict; please report it"
    digest = _digest([verdict.name, "CK908", text])
    return Finding("CK908", BY_ID["CK908"].severity.value, text, "", "", digest)


def of_entry(findings: tuple[Mapping[str, Any], ...]) -> tuple[Finding, ...]:
    """The findings of an entry, as it holds them."""
    return tuple(Finding(**each) for each in findings)


def _fingerprint(name: str, changes: tuple[Change, ...]) -> str:
    told = sorted(_told(fact, change) for change in changes for fact in facts(change))
    return _digest([name, changes[0].rule, *told])


def _told(fact: str, change: Change) -> str:
    """A fact; of words, without what another run of the same would say otherwise."""
    if change.old or change.new:
        return fact
    return _PASSING.sub(
        "", fact.replace(os.getcwd() + os.sep, "")
    )  # a path below it has no folders of others


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
