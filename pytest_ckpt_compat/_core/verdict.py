"""What judged changes add up to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.structure import Structure

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.migrated import Migrated


@dataclass(frozen=True)
class Verdict:
    """Judged changes between an old and a new side, and what they add up to.

    Attributes:
        changes: the judged changes, in report order.
        name: id of the registered checkpoint, or "" for a plain comparison.
        old: the old side (the checkpoint or its snapshot), where it could be had.
        new: the new side (the definition), where it could be had.
        old_label: how the report names the old side (a path).
        new_label: how the report names the new side (``models.Classifier (models/net.py:88)``).
        where: the file and line of the definition (``models/net.py:88``), or "".
        notes: remarks on how the check was made, a line each.
        before: the checkpoint as its file has it, where the old side is what migrations made of it.
        remapped: key of ``before`` -> key that the load got, for those that migrations renamed.
        migrated: what the registered migrations did, or None if there are none.
        repaired_by: names of the migrations that a branch brings and without which it would break the
            checkpoint; () where that was not asked, or it is not so.
        alike: the definition that, as the merge base has it, breaks in the same way, or "".
        settings_asked: whether the merge base's code was asked about settings of modules, so that a change of
            one that is still open is new.
        by_settings: a line on each severity of the project's settings that changed the verdict.
        repairs: (label, command) lines that a report prints for the user to paste.
        code: of a migration that makes the checkpoint load, where a report shows it; "" otherwise.
        proof: how much of that code is proven, or why there is none, in a line.
        loaded: whether the old side was loaded into a model; two structures are only compared.
        renderer: writes the report that ``str`` gives; whoever makes a verdict for a user sets it.
    """

    changes: tuple[Change, ...] = ()
    name: str = ""
    old: Structure | None = field(default=None, repr=False)
    new: Structure | None = field(default=None, repr=False)
    old_label: str = ""
    new_label: str = ""
    where: str = ""
    notes: tuple[str, ...] = ()
    repairs: tuple[tuple[str, str], ...] = ()
    code: str = field(default="", repr=False)
    proof: str = ""
    before: Structure | None = field(default=None, repr=False)
    remapped: Mapping[str, str] = field(default_factory=dict, repr=False)
    migrated: Migrated | None = field(default=None, repr=False)
    repaired_by: tuple[str, ...] = ()
    alike: str = ""
    settings_asked: bool = False
    by_settings: tuple[str, ...] = ()
    loaded: bool = True
    renderer: Callable[[Verdict], str] = field(default_factory=lambda: repr, repr=False, compare=False)

    def of(self, *severities: Severity) -> Iterator[Change]:
        """The changes of these severities."""
        there = [each for each in severities if each in self._by_severity]
        if len(there) > 1:
            return (change for change in self.changes if change.severity in there)
        return iter(self._by_severity[there[0]] if there else ())

    @functools.cached_property
    def _by_severity(self) -> Mapping[Severity | None, Sequence[Change]]:
        """The changes of each severity: one walk, whatever is asked, of what may be a change a key."""
        found: dict[Severity | None, list[Change]] = {}
        for severity, changes in groupby(self.changes, attrgetter("severity")):
            found.setdefault(severity, []).extend(changes)
        return found

    def with_severity(
        self, chosen: Callable[[Change], bool], severity: Severity, reason: str = ""
    ) -> Verdict:
        """Gives the chosen changes another severity, and a reason if there is one."""
        changes = (
            replace(each, severity=severity, reason=reason or each.reason) if chosen(each) else each
            for each in self.changes
        )
        return replace(self, changes=tuple(changes))

    @property
    def compatible(self) -> bool:
        """Whether the check was made and found nothing that stops the load."""
        return not any(self.of(Severity.ERROR, Severity.INCOMPLETE))

    @property
    def exit_code(self) -> int:
        """0 compatible, 1 incompatible, 2 could not check, as diff(1) has it."""
        if any(self.of(Severity.ERROR)):
            return 1
        return 2 if any(self.of(Severity.INCOMPLETE)) else 0

    def __str__(self) -> str:
        """The text report; its first line stands alone."""
        return self.renderer(self)
