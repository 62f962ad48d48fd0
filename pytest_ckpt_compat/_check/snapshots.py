"""The two snapshots of a registered checkpoint: the file's, which is frozen, and the definition's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._check.check import check_structure, diff
from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.errors import NoBaselineError, SnapshotError, UnreachableError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._premerge import new_breaks as against
from pytest_ckpt_compat._premerge.git import Base
from pytest_ckpt_compat._premerge.merge_base_code import Earlier
from pytest_ckpt_compat._registry.registration import Registration, definition_id
from pytest_ckpt_compat._snapshots import fingerprint
from pytest_ckpt_compat._snapshots import folder as snapshots

UPDATE_COMMAND = "pytest --ckpt-update"


@dataclass(frozen=True)
class Context:
    """What the checks of one run have in common.

    Attributes:
        folder: the snapshot folder.
        update: whether snapshots are being recorded: then missing ones are no fault, and neither are
            definitions that differ from theirs.
        rewrite: ids of the checkpoints whose frozen snapshot may be recorded anew.
        today: decides which accepted breaks have expired.
        earlier: the code of the commit to compare with, or None.
        snapshots_only: whether a snapshot stands in for its checkpoint though the file is there.
    """

    folder: Path
    update: bool = False
    rewrite: frozenset[str] = frozenset()
    today: date = field(default_factory=date.today)
    earlier: Earlier | None = None
    snapshots_only: bool = False

    @property
    def base(self) -> Base | None:
        """The commit to compare with, or None."""
        return self.earlier.base if self.earlier is not None else None


@dataclass(frozen=True)
class Finding:
    """What one of the two snapshots adds to the result."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    writes: Mapping[str, str] = field(default_factory=dict)
    #: Changes that matter once the checkpoint's own breaks are accepted.
    later: tuple[Change, ...] = ()


def frozen(registration: Registration, definition: Definition, context: Context) -> tuple[Structure, Finding]:
    """The checkpoint's structure, from the file or its snapshot, and whether the two agree.

    The snapshot is frozen: what differs from it is never recorded unless the id is named.
    """
    folder = context.folder
    name = snapshots.checkpoint_name(registration.id)
    shown = registration.shown
    if not registration.there or (context.snapshots_only and (folder / name).exists()):
        return _from_snapshot(registration, folder, "" if registration.there else "is absent")
    try:
        structure = read(registration)
    except UnreachableError as error:
        if context.update or not (folder / name).exists():
            raise
        return _from_snapshot(registration, folder, f"cannot be reached ({error.problem})")
    structure = replace(structure, source=replace(structure.source, path=shown))
    return structure, _compared(registration, definition, structure, context)


def _compared(
    registration: Registration, definition: Definition, structure: Structure, context: Context
) -> Finding:
    """What the frozen snapshot says to the file, or what an update would write of the file."""
    folder, name, shown = context.folder, snapshots.checkpoint_name(registration.id), registration.shown
    resume = registration.level == "resume"
    named = context.update and registration.id in context.rewrite
    stored = None if named else snapshots.load(folder, name)
    same = stored is not None and fingerprint.digest(stored) == fingerprint.digest(structure)
    lacks = resume and same and structure.optimizers and stored is not None and not stored.optimizers
    if context.update and (stored is None or lacks):
        values = structure.values if definition.takes_checkpoint else None
        text = fingerprint.dumps(structure, values, resume)
        return Finding(writes={name: text} if _outdated(folder, name, structure, resume) else {})
    if stored is None or lacks:
        what = (
            f"{folder.name}/{name} keeps no optimizer state"
            if lacks
            else f"no snapshot of {shown} has been recorded"
        )
        return Finding(changes=(Change("no-baseline", detail=f"{what}; run {UPDATE_COMMAND}"),))
    if not same or (resume and fingerprint.digest(stored, True) != fingerprint.digest(structure, True)):
        detail = (
            f"{shown} is not the file that {folder.name}/{name} was taken of "
            f"({difference(stored, structure)})"
        )
        return Finding(changes=(Change("stale-snapshot", detail=detail),))
    return Finding()


def read(registration: Registration) -> Structure:
    """The structure of the checkpoint itself. Raises ReadError."""
    return readers.read(registration.address or registration.path, registration.key)


def _from_snapshot(registration: Registration, folder: Path, why: str) -> tuple[Structure, Finding]:
    """The stored structure, and a note on why it stands in for the checkpoint, if that is remarkable."""
    name, shown = snapshots.checkpoint_name(registration.id), registration.shown
    stored = snapshots.load(folder, name)
    if stored is None:
        problem = f"neither the file nor its snapshot {folder.name}/{name} is there"
        raise NoBaselineError(shown, problem, "fetch the file")
    note = f"{shown} {why}: checked from its snapshot {folder.name}/{name}"
    structure = replace(stored, source=replace(stored.source, path=shown))
    return structure, Finding(notes=(note,) if why else ())


def latest(subject: against.Subject, main: Verdict, context: Context) -> Finding:
    """Judges the definition's snapshot by meaning: would what it recorded still load?"""
    definition, folder, name = subject.definition, subject.folder, subject.name
    new, values = main.new, main.old.values if main.old else {}
    if new is None:
        return Finding()
    if context.update:
        return Finding(writes={name: fingerprint.dumps(new)} if _outdated(folder, name, new) else {})
    stored = snapshots.load(folder, name)
    if stored is None:
        detail = f"no snapshot of {definition.label} has been recorded; run {UPDATE_COMMAND}"
        return Finding(changes=(Change("no-baseline", detail=detail),))
    if fingerprint.digest(stored) == fingerprint.digest(new):
        return Finding()
    recorded = replace(stored, values=values, source=replace(stored.source, path=f"{folder.name}/{name}"))
    verdict = check_structure(recorded, definition, subject.registration.policy)
    detail = f"differs from {folder.name}/{name} ({difference(stored, new)}); record it with {UPDATE_COMMAND}"
    changed = (Change("definition-changed", detail=detail),)
    if verdict.compatible:
        return Finding(changes=changed)
    if against.facts(verdict.of(Severity.ERROR)) <= against.facts(main.of(Severity.ERROR)):
        note = f"{folder.name}/{name}, the definition as recorded, breaks in the same way"
        return Finding(notes=(note,), later=changed)
    label = f"{verdict.old_label} (the definition as recorded)"
    repairs = (*verdict.repairs, ("record", f"{UPDATE_COMMAND}, if nothing was trained with it"))
    verdict = replace(verdict, name=subject.identifier, old_label=label, repairs=repairs)
    return Finding(verdicts=(verdict,))


def difference(old: Structure, new: Structure) -> str:
    """``2 keys added, 1 removed, 3 changed``."""
    split = compare.sides(old.tensors, new.tensors)
    changed = sum(old.tensors[key] != new.tensors[key] for key in split.both)
    numbers = {"added": len(split.new_only), "removed": len(split.old_only), "changed": changed}
    said = [f"{number:,} {word}" for word, number in numbers.items() if number]
    if said:
        return "keys: " + ", ".join(said)
    if list(old.tensors) != list(new.tensors):
        return "order of keys"
    same = fingerprint.digest(old) == fingerprint.digest(new)
    return "the state of the optimizer" if same else "tied weights or module versions"


def recorded_diff(old: Structure, new: Structure, full: bool = False) -> list[str]:
    """What an update changed in a snapshot, as the rows of a report."""
    from pytest_ckpt_compat._report.text import table

    return table(diff(old, new), full)


def _outdated(folder: Path, name: str, structure: Structure, resume: bool = False) -> bool:
    """Whether an update has to write a snapshot: it is not there, of no use, or of another structure."""
    try:
        stored = snapshots.load(folder, name)
    except SnapshotError:
        return True
    return stored is None or fingerprint.digest(stored, resume) != fingerprint.digest(structure, resume)


def definition_name(registration: Registration, definition: Definition) -> str:
    """Name of the snapshot of a registered checkpoint's definition."""
    name = "" if definition.takes_checkpoint else definition.name
    return snapshots.definition_name(definition_id(name, definition.kwargs, registration.id))
