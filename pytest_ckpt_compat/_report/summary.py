"""A run as plain data: it is passed between processes, and reports are made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._report import findings, text
from pytest_ckpt_compat._report import json as json_report
from pytest_ckpt_compat._report.migrations import Migrations
from pytest_ckpt_compat._report.rows import Row, rows

#: Labels of the lines on how to open a file.
OPENING = ("open", "moved?")

_FAILING = (Severity.ERROR.value, Severity.INCOMPLETE.value)
#: Checkpoints that a line names.
_NAMED = 8

State = Literal["broken", "unknown", "before", "warning", "ok", "skipped"]


@dataclass(frozen=True)
class Entry:
    """One verdict, rendered.

    Attributes:
        id: the checkpoint or definition.
        state: ``broken``; ``unknown`` if it could not be checked; ``before`` if it was broken
            before; ``warning`` if it loads with warnings; ``ok``.
        headline: the first line of the text report.
        text: the whole text report.
        where: file and line of the class (``models/net.py:88``), or "".
        data: the JSON report.
        hints: lines on what to do about a file that loads, and that ``torch.load`` does not open as it is.
        findings: one for each row of the text report, as data.
        page: what an HTML page shows besides; {} where none is wanted.
    """

    id: str
    state: State
    headline: str
    text: str
    where: str = ""
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    hints: tuple[str, ...] = ()
    findings: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    page: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def notes(self) -> list[str]:
        """Remarks on the verdict: which settings changed it, and how it was found."""
        return [*self.by_settings, *self.data["notes"]]

    @property
    def unrecorded(self) -> bool:
        """Whether it loads, and all that fails is that it, or its definition as it is, was not recorded."""
        failing = [each for each in self.data.get("changes", ()) if each["severity"] in _FAILING]
        kinds = {each["kind"] for each in failing}
        if kinds != {"no-baseline"}:
            return kinds == {"definition-changed"}
        loaded = self.data["old"]["digest"] and self.data["new"]["digest"]
        return bool(loaded) and all(each.get("detail", "").endswith(UPDATE) for each in failing)

    @property
    def by_settings(self) -> list[str]:
        """A line on each severity of the project's settings that changed the verdict."""
        return list(self.data.get("by_settings", ()))

    def as_data(self) -> dict[str, Any]:
        """The entry as JSON holds it; ``Entry(**data)`` restores it."""
        return asdict(self)


@dataclass(frozen=True)
class Run:
    """A whole run.

    Attributes:
        entries: one for each verdict, in order.
        compared: the line on how much was compared.
        label: the git reference, or "".
        migrations: what the registered migrations came to.
        failures: a line on each thing that could not be read or written at the end of the run.
        settings: a line on each rule that has another severity here than at the merge base.
        registered: ids of the checkpoints; the other entries are about definitions and removed checkpoints.
        deselected: ids of those that were collected and not checked, as far as the run knows them.
    """

    entries: tuple[Entry, ...]
    compared: str
    label: str = ""
    migrations: Migrations = field(default_factory=Migrations)
    failures: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()
    deselected: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """A line on the checkpoints that are registered and not in it; none where it knows of none."""
        if not self.deselected:
            return ()
        number = len(self.deselected)
        named = ", ".join(map(visible, self.deselected[:_NAMED])) + (", ..." if number > _NAMED else "")
        are = "is" if number == 1 else "are"
        return (f"{count(number, 'registered checkpoint')} {are} not in this report: {named}",)

    @property
    def checked(self) -> bool:
        """Whether something was checked, and nothing that is registered was left out or could not be."""
        some = len(self.of("skipped")) < len(self.entries)
        return some and not (self.deselected or self.of("unknown") or self.failures)

    def of(self, *states: State) -> list[Entry]:
        """The entries in these states."""
        return [entry for entry in self.entries if entry.state in states]


def entry(verdict: Verdict, full: bool = False, paged: bool = False) -> Entry:
    """Renders a verdict.

    Args:
        verdict: what a check found.
        full: whether its text lists every key.
        paged: whether the report has what a page of HTML shows.
    """
    folded = _rows(verdict)
    return Entry(
        verdict.name,
        _state(verdict),
        text.headline(verdict),
        text.render(verdict, full, folded if isinstance(folded, tuple) else None),
        verdict.where,
        json_report.as_data(verdict),
        tuple(f"{label}: {visible(line)}" for label, line in verdict.repairs if label in OPENING),
        _findings(verdict, folded),
        _page(verdict) if paged else {},
    )


def _rows(verdict: Verdict) -> tuple[Row, ...] | Exception:
    """The rows of the folded report, or why they cannot be made; the text then says so itself."""
    try:
        return rows(verdict)
    except Exception as error:
        return error


def _findings(verdict: Verdict, folded: tuple[Row, ...] | Exception) -> tuple[dict[str, Any], ...]:
    """The findings, or one that says why there are none."""
    try:
        if isinstance(folded, Exception):
            raise folded
        return tuple(each.as_data() for each in findings.of_rows(verdict, folded))
    except Exception as error:
        return (findings.failed(verdict, error).as_data(),)


def _page(verdict: Verdict) -> dict[str, Any]:
    from pytest_ckpt_compat._report.html.section import section

    return section(verdict)


def unchecked(identifier: str, state: State, reason: str) -> Entry:
    """The entry of a checkpoint that was not checked, and why."""
    line = visible(f"{'skipped' if state == 'skipped' else 'not checked'} {identifier}: {reason}")
    data = json_report.as_data(Verdict(name=identifier)) | {"compatible": None}
    return Entry(identifier, state, line, line, data=data)


def unique(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries without duplicates, which arise where two checkpoints share a definition."""
    return tuple({(each.id, each.text): each for each in entries}.values())


def _state(verdict: Verdict) -> State:
    if any(verdict.of(Severity.ERROR)):
        return "broken"
    if any(verdict.of(Severity.INCOMPLETE)):
        return "unknown"
    if any(verdict.of(Severity.EXISTING)):
        return "before"
    return "warning" if any(verdict.of(Severity.WARNING)) and not text.is_quiet(verdict) else "ok"
