"""What a run found, as plain data: it travels between processes, and every report is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report import json as json_report
from pytest_ckpt_compat._report import text

State = Literal["broken", "unknown", "before", "warning", "ok"]


@dataclass(frozen=True)
class Entry:
    """One verdict.

    Attributes:
        id: the checkpoint or definition.
        state: what it comes to: it breaks, it could not be checked, it was broken before, it loads
            with something to say, it loads.
        headline: one line.
        text: the whole text report.
        where: ``models/net.py:88``, the class, or "".
        data: the JSON report.
    """

    id: str
    state: State
    headline: str
    text: str
    where: str = ""
    data: dict[str, Any] = field(default_factory=dict, repr=False)

    def as_data(self) -> dict[str, Any]:
        """For JSON; ``Entry(**data)`` is the way back."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """A whole run.

    Attributes:
        entries: one a verdict, in order.
        compared: the line that says how much was compared.
        label: the git reference, or "".
    """

    entries: tuple[Entry, ...]
    compared: str
    label: str = ""

    def of(self, *states: State) -> list[Entry]:
        """The entries in these states."""
        return [entry for entry in self.entries if entry.state in states]


def entry(verdict: Verdict, full: bool = False) -> Entry:
    """A verdict as an entry; ``full`` lists every key in its text."""
    return Entry(
        verdict.name,
        _state(verdict),
        text.headline(verdict),
        text.render(verdict, full),
        verdict.where,
        json_report.as_data(verdict),
    )


def unique(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries without repetition: two checkpoints may share a definition."""
    return tuple({(each.id, each.text): each for each in entries}.values())


def remarks(entries: Iterable[Entry]) -> Iterator[str]:
    """What verdicts that fail nothing have to say: what was so before, a line for a warning, notes."""
    for each in entries:
        if each.state == "before":
            yield each.text
        elif each.state in ("warning", "ok"):
            if each.data["changes"]:
                yield each.headline
            yield from (f"{each.id}: {visible(note)}" for note in each.data["notes"])


def _state(verdict: Verdict) -> State:
    if any(verdict.of(Severity.ERROR)):
        return "broken"
    if any(verdict.of(Severity.INCOMPLETE)):
        return "unknown"
    if any(verdict.of(Severity.EXISTING)):
        return "before"
    return "warning" if any(verdict.of(Severity.WARNING)) else "ok"
