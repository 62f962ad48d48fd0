"""A registered checkpoint: the load, and the snapshots of the checkpoint and of the definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat import accepted, against, compare, fingerprint, prefixes, readers, snapshots
from pytest_ckpt_compat.changes import Change, Policy, Severity, Verdict
from pytest_ckpt_compat.checking import check_structure, could_not_check, diff, resumed
from pytest_ckpt_compat.config import Registration, definition_id
from pytest_ckpt_compat.definition.find import Definition, find
from pytest_ckpt_compat.definition.load import load_weights
from pytest_ckpt_compat.errors import CkptCompatError, NoBaselineError, SnapshotError, UnreachableError
from pytest_ckpt_compat.git import Base
from pytest_ckpt_compat.rules import judge
from pytest_ckpt_compat.structure import Structure

if TYPE_CHECKING:
    from torch import nn

UPDATE_COMMAND = "pytest --ckpt-update"
UPDATE_ONE = "ckpt-compat update"


@dataclass(frozen=True)
class Context:
    """What the checks of one run have in common.

    Attributes:
        folder: the snapshot folder.
        update: whether snapshots are being recorded: then missing ones are no fault, and neither are
            definitions that differ from theirs.
        rewrite: ids of the checkpoints whose frozen snapshot may be recorded anew.
        today: decides which accepted breaks have expired.
        base: the commit to compare with, or None.
        snapshots_only: whether a snapshot stands in for its checkpoint though the file is there.
    """

    folder: Path
    update: bool = False
    rewrite: frozenset[str] = frozenset()
    today: date = field(default_factory=date.today)
    base: Base | None = None
    snapshots_only: bool = False


@dataclass(frozen=True)
class Result:
    """What came of one registered checkpoint.

    Attributes:
        verdicts: of the checkpoint; then, where it says something else, of the definition against
            its own snapshot.
        writes: snapshot name -> text that an update has to write.
    """

    verdicts: tuple[Verdict, ...]
    writes: Mapping[str, str] = field(default_factory=dict)

    @property
    def compatible(self) -> bool:
        """Whether every verdict is."""
        return all(verdict.compatible for verdict in self.verdicts)

    @property
    def tensors(self) -> int | None:
        """How many tensors of the checkpoint were loaded, or None where it came to no load."""
        main = self.verdicts[0]
        return len(main.old.tensors) if main.old is not None and main.new is not None else None


@dataclass(frozen=True)
class _Finding:
    """What one of the two snapshots adds to the result."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    writes: Mapping[str, str] = field(default_factory=dict)
    #: Changes that matter once the checkpoint's own breaks are accepted.
    later: tuple[Change, ...] = ()


def used_names(registration: Registration) -> tuple[str, ...]:
    """Names of the snapshots that belong to a registration.

    Raises:
        CkptCompatError: the definition cannot be found, so its snapshot is not known.
    """
    definition = find(registration.model, registration.kwargs)
    return snapshots.checkpoint_name(registration.id), _definition_name(registration, definition)


def check_registered(registration: Registration, context: Context) -> Result:
    """Checks a registered checkpoint; writes nothing, and says what an update would write.

    Raises:
        UsageError: the registration says something that cannot be meant, or git cannot be asked.
    """
    writes: dict[str, str] = {}
    try:
        entries = accepted.load(context.folder)
        definition = find(registration.model, registration.kwargs)
        structure, baseline = _baseline(registration, definition, context)
        writes.update(baseline.writes)
        verdict = check_structure(structure, definition, registration.policy, registration.strip_prefix)
        if registration.level == "resume":
            verdict = resumed(verdict, definition, registration.optimizer, registration.policy)
        own = _own_snapshot(registration, definition, verdict, context)
        name = _definition_name(registration, definition)
        subject = against.Subject(registration, definition, context.folder, name)
        verdicts = _plain(subject, verdict, baseline, own)
        if context.base is not None:
            verdicts = against.compare(subject, verdicts, context.base)
    except CkptCompatError as error:
        if error.rule is None:
            raise
        return Result((could_not_check(error, registration.id),), writes)
    whole = {registration.id, *([subject.identifier] if context.base else [])}
    verdicts = accepted.apply(verdicts, entries, context.today, whole)
    if own.later and verdicts[0].compatible:
        first = replace(verdicts[0], changes=(*judge(own.later, Policy()), *verdicts[0].changes))
        verdicts = (against.strict(first) if context.base else first, *verdicts[1:])
    return Result(tuple(with_commands(each) for each in verdicts), writes | dict(own.writes))


def _plain(
    subject: against.Subject, verdict: Verdict, baseline: _Finding, own: _Finding
) -> tuple[Verdict, ...]:
    """The load's verdict with what the snapshots add to it, and the verdict of the definition's own."""
    found = judge((*baseline.changes, *own.changes), Policy())
    verdict = replace(
        verdict,
        name=subject.registration.id,
        changes=(*found, *verdict.changes),
        notes=(*baseline.notes, *own.notes, *verdict.notes),
    )
    return tuple(against.at_level(each, subject.registration.level) for each in (verdict, *own.verdicts))


def with_commands(verdict: Verdict) -> Verdict:
    """The verdict, and how to accept what fails in it."""
    repairs = [(label, text) for label, text in verdict.repairs if label != "accept"]
    if any(change.kind == "stale-snapshot" for change in verdict.changes):
        repairs.append(("record", f"{UPDATE_ONE} {verdict.name}"))
    repairs += [("accept", command) for command in accepted.commands(verdict)]
    return replace(verdict, repairs=tuple(repairs))


def load(registration: Registration) -> nn.Module:
    """The registered model with the registered checkpoint's real weights loaded.

    Raises:
        ReadError: the file, or a tensor in it, cannot be read.
        BuildError: the definition cannot be found or built.
        RuntimeError: torch's own, where the load fails.
    """
    definition = find(registration.model, registration.kwargs)
    structure = _read(registration)
    if registration.strip_prefix:
        structure = prefixes.strip(structure, registration.strip_prefix)
    return load_weights(definition, structure, registration.policy.strict)


def _baseline(
    registration: Registration, definition: Definition, context: Context
) -> tuple[Structure, _Finding]:
    """The checkpoint's structure, from the file or its snapshot, and whether the two agree.

    The snapshot is frozen: what differs from it is never recorded unless the id is named.
    """
    folder = context.folder
    name = snapshots.checkpoint_name(registration.id)
    shown = registration.shown
    if not registration.there or (context.snapshots_only and (folder / name).exists()):
        return _from_snapshot(registration, folder, "" if registration.there else "is absent")
    try:
        structure = _read(registration)
    except UnreachableError as error:
        if context.update or not (folder / name).exists():
            raise
        return _from_snapshot(registration, folder, f"cannot be reached ({error.problem})")
    structure = replace(structure, source=replace(structure.source, path=shown))
    return structure, _compared(registration, definition, structure, context)


def _compared(
    registration: Registration, definition: Definition, structure: Structure, context: Context
) -> _Finding:
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
        return _Finding(writes={name: text} if _outdated(folder, name, structure, resume) else {})
    if stored is None or lacks:
        what = (
            f"{folder.name}/{name} keeps no optimizer state"
            if lacks
            else f"no snapshot of {shown} has been recorded"
        )
        return _Finding(changes=(Change("no-baseline", detail=f"{what}; run {UPDATE_COMMAND}"),))
    if not same or (resume and fingerprint.digest(stored, True) != fingerprint.digest(structure, True)):
        detail = (
            f"{shown} is not the file that {folder.name}/{name} was taken of "
            f"({difference(stored, structure)})"
        )
        return _Finding(changes=(Change("stale-snapshot", detail=detail),))
    return _Finding()


def _read(registration: Registration) -> Structure:
    return readers.read(registration.address or registration.path, registration.key)


def _from_snapshot(registration: Registration, folder: Path, why: str) -> tuple[Structure, _Finding]:
    """The stored structure, and a note on why it stands in for the checkpoint, if that is remarkable."""
    name, shown = snapshots.checkpoint_name(registration.id), registration.shown
    stored = snapshots.load(folder, name)
    if stored is None:
        problem = f"neither the file nor its snapshot {folder.name}/{name} is there"
        raise NoBaselineError(shown, problem, "fetch the file")
    note = f"{shown} {why}: checked from its snapshot {folder.name}/{name}"
    structure = replace(stored, source=replace(stored.source, path=shown))
    return structure, _Finding(notes=(note,) if why else ())


def _own_snapshot(
    registration: Registration, definition: Definition, main: Verdict, context: Context
) -> _Finding:
    """Judges the definition's snapshot by meaning: would what it recorded still load?"""
    folder = context.folder
    new, values = main.new, main.old.values if main.old else {}
    if new is None:
        return _Finding()
    name = _definition_name(registration, definition)
    if context.update:
        return _Finding(writes={name: fingerprint.dumps(new)} if _outdated(folder, name, new) else {})
    stored = snapshots.load(folder, name)
    if stored is None:
        detail = f"no snapshot of {definition.label} has been recorded; run {UPDATE_COMMAND}"
        return _Finding(changes=(Change("no-baseline", detail=detail),))
    if fingerprint.digest(stored) == fingerprint.digest(new):
        return _Finding()
    recorded = replace(stored, values=values, source=replace(stored.source, path=f"{folder.name}/{name}"))
    verdict = check_structure(recorded, definition, registration.policy)
    detail = f"differs from {folder.name}/{name} ({difference(stored, new)}); record it with {UPDATE_COMMAND}"
    changed = (Change("definition-changed", detail=detail),)
    if verdict.compatible:
        return _Finding(changes=changed)
    if _facts(verdict) <= _facts(main):
        note = f"{folder.name}/{name}, the definition as recorded, breaks in the same way"
        return _Finding(notes=(note,), later=changed)
    label = f"{verdict.old_label} (the definition as recorded)"
    repairs = (*verdict.repairs, ("record", f"{UPDATE_COMMAND}, if nothing was trained with it"))
    identifier = snapshots.identifier(name.removeprefix(snapshots.MODELS + "/"))
    verdict = replace(verdict, name=identifier, old_label=label, repairs=repairs)
    return _Finding(verdicts=(verdict,))


def _facts(verdict: Verdict) -> set[tuple[object, ...]]:
    return {(change.kind, change.old, change.new) for change in verdict.of(Severity.ERROR)}


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
    from pytest_ckpt_compat.report.text import table

    return table(diff(old, new), full)


def _outdated(folder: Path, name: str, structure: Structure, resume: bool = False) -> bool:
    """Whether an update has to write a snapshot: it is not there, of no use, or of another structure."""
    try:
        stored = snapshots.load(folder, name)
    except SnapshotError:
        return True
    return stored is None or fingerprint.digest(stored, resume) != fingerprint.digest(structure, resume)


def _definition_name(registration: Registration, definition: Definition) -> str:
    name = "" if definition.takes_checkpoint else definition.name
    return snapshots.definition_name(definition_id(name, definition.kwargs, registration.id))
