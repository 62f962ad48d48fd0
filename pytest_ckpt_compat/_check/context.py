"""What the checks of one run have in common, and the merge base that they may be compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol

from pytest_ckpt_compat._check.migrations import Elsewhere
from pytest_ckpt_compat._core.changes import RuleSeverity
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.chain import Chain
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.kept import Builds
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import fingerprint, store


@dataclass(frozen=True)
class Subject:
    """A registered checkpoint and its definition: what is compared with the merge base.

    Attributes:
        registration: the checkpoint.
        definition: its definition in today's code.
        folder: the snapshot folder.
        name: name of the definition's snapshot.
        structure: the checkpoint as its file or its snapshot has it, no prefix stripped.
        chains: gives the migrations of other registered checkpoints of the same definition.
    """

    registration: Registration
    definition: Definition
    folder: Path
    name: str
    structure: Structure
    chains: Elsewhere = field(default_factory=Elsewhere, compare=False, repr=False)

    @property
    def elsewhere(self) -> tuple[Chain, ...]:
        """The migrations of other registered checkpoints of the same definition."""
        return self.chains.of(self.registration, self.definition)

    @property
    def identifier(self) -> str:
        """The definition's id, as in the name of its snapshot."""
        return store.identifier(self.name)

    @property
    def label(self) -> str:
        """The definition with the arguments that it is built with, and its line, for messages."""
        name, given = self.definition.name, self.identifier
        known = name and self.definition.kwargs and given.startswith(f"{name}(")
        return f"{given} ({self.definition.where})" if known else self.definition.label

    @property
    def from_file(self) -> bool:
        """Whether the structure was read from the checkpoint on this disk."""
        return self.structure.source.format != fingerprint.SOURCE and self.registration.path.exists()


class MergeBase(Protocol):
    """The commit that a branch started from: its snapshots, and its code."""

    @property
    def ref(self) -> str:
        """The reference as the user gave it (``origin/main``)."""

    @property
    def label(self) -> str:
        """``origin/main (merge base 1a2b3c4d)``."""

    def compare(
        self, subject: Subject, verdicts: tuple[Verdict, ...], update: bool = False
    ) -> tuple[Verdict, ...]:
        """Marks as existing the breaks that the merge base has too, and adds what only it shows.

        Args:
            subject: the checkpoint and its definition.
            verdicts: those of a plain check, the checkpoint's own first.
            update: whether the definition's snapshot is written over, so that no verdict is about it.

        Raises:
            SnapshotError: a snapshot in the work tree cannot be used.
            UsageError: git cannot read the commit.
        """

    def recorded(self, subject: Subject) -> Structure | None:
        """The definition as the commit recorded it, or as its code builds it; None if neither can be had."""

    def require_recorded(self, subject: Subject, verdict: Verdict) -> Verdict:
        """Fails a definition that changed on this branch and was not recorded."""

    def missing_snapshots(
        self, folder: Path, used: Iterable[str]
    ) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
        """Finds snapshots of the merge base that no registered checkpoint uses any more.

        Args:
            folder: the snapshot folder.
            used: names of all snapshots that registered checkpoints use.

        Returns:
            A verdict for each, and a line for each that was only renamed.
        """

    def changed_severities(self, severities: tuple[RuleSeverity, ...]) -> tuple[str, ...]:
        """A line on each rule to which the project gives another severity than at the commit.

        Raises:
            UsageError: git cannot read the commit.
        """

    def close(self) -> None:
        """Ends the process that runs the merge base's code, if there is one."""


def _unheard(_doing: str) -> None:
    """Nobody wants to know what is being done."""


@dataclass(frozen=True)
class Context:
    """What the checks of one run have in common.

    Attributes:
        folder: the snapshot folder.
        update: whether snapshots are being recorded; then missing snapshots and changed definitions do
            not fail.
        rewrite: ids of the checkpoints whose frozen snapshot may be recorded anew.
        today: decides which acceptances have expired.
        merge_base: what the run is compared with, or None.
        snapshots_only: whether snapshots are used even where the files are present.
        builds: the definitions that are kept for the checkpoints that are registered with them.
        elsewhere: the migrations that are registered.
        severities: those that the project gives to rules.
        doing: is told, before each step of a check, what is being done, and "" after the last.
        reading: gives a context in which a checkpoint is read, which may have been fetched before.
        paged: whether the report has what a page of HTML shows, such as the code of migrations.
    """

    folder: Path
    update: bool = False
    rewrite: frozenset[str] = frozenset()
    today: date = field(default_factory=date.today)
    merge_base: MergeBase | None = None
    snapshots_only: bool = False
    builds: Builds = field(default_factory=lambda: Builds(()), compare=False, repr=False)
    elsewhere: Elsewhere = field(default_factory=Elsewhere, compare=False, repr=False)
    severities: tuple[RuleSeverity, ...] = ()
    doing: Callable[[str], None] = field(default=_unheard, compare=False, repr=False)
    reading: Callable[[Registration], AbstractContextManager[None]] = field(
        default=lambda _: nullcontext(), compare=False, repr=False
    )
    paged: bool = False

    @property
    def ref(self) -> str:
        """The reference that the run is compared with, or ""."""
        return self.merge_base.ref if self.merge_base is not None else ""

    @property
    def label(self) -> str:
        """The reference and its merge base, or ""."""
        return self.merge_base.label if self.merge_base is not None else ""
