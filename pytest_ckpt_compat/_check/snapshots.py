"""Reads a registered checkpoint, from its file or its snapshot, and compares it with the latter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._check import logged as fingerprints
from pytest_ckpt_compat._check.context import Context
from pytest_ckpt_compat._check.optimizer_files import with_optimizers
from pytest_ckpt_compat._check.parts import held
from pytest_ckpt_compat._check.reading import read_for, told_as_registered
from pytest_ckpt_compat._check.update import Over, difference
from pytest_ckpt_compat._core import adapters
from pytest_ckpt_compat._core.adapters import config_of
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.errors import NoBaselineError, SnapshotError, UnreachableError
from pytest_ckpt_compat._core.hub import repository
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.pretrained_config import CONFIG, configuration
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import fingerprint, store


@dataclass(frozen=True)
class Finding:
    """What one of the two snapshots adds to the result.

    Attributes:
        changes: changes that the checkpoint's verdict gets.
        notes: notes that it gets.
        verdicts: verdicts of the definition against its own snapshot.
        writes: snapshot name -> text that an update has to write.
        later: changes that count only once the checkpoint's own breaks are accepted.
        settings: changes of what is computed, by settings and by outputs, which the registration may accept.
        proven: old key -> new key of renames in doubt that outputs have proven.
        over: snapshot name -> what the outputs say of the definition that an update writes over.
        unrecorded: what has no snapshot that it should have, as reports name it.
    """

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    writes: Mapping[str, str] = field(default_factory=dict)
    later: tuple[Change, ...] = ()
    settings: tuple[Change, ...] = ()
    proven: Mapping[str, str] = field(default_factory=dict)
    over: Mapping[str, Over] = field(default_factory=dict)
    unrecorded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """A snapshot as a check found it, read once.

    Attributes:
        structure: what it says, or None where there is none that can be used.
        error: why it cannot be used, or None.
    """

    structure: Structure | None = None
    error: SnapshotError | None = None

    @property
    def there(self) -> bool:
        """Whether a snapshot is stored, of whatever use."""
        return self.structure is not None or self.error is not None

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The ``config.json`` that it keeps, None if there is none."""
        config = None if self.structure is None else self.structure.values.get(CONFIG)
        return config if isinstance(config, Mapping) else None

    def outdated_by(self, structure: Structure, resume: bool = False) -> bool:
        """Whether an update has to write a structure: there is no snapshot, no usable one, or another one."""
        return self.structure is None or not fingerprint.same(self.structure, structure, resume)


def stored_of(registration: Registration, folder: Path) -> Stored:
    """The snapshot of a registered checkpoint."""
    return stored_as(folder, store.checkpoint_name(registration.id))


def stored_as(folder: Path, name: str) -> Stored:
    try:
        return Stored(store.load(folder, name))
    except SnapshotError as error:
        return Stored(error=error)


def of_checkpoint(
    registration: Registration, definition: Definition, context: Context, stored: Stored
) -> tuple[Structure, Finding]:
    """Reads the checkpoint, or its snapshot where it is absent, and compares the two.

    A checkpoint's snapshot is frozen: an update replaces it only if its id is named.

    Args:
        registration: the checkpoint.
        definition: what it is to be loaded into.
        context: of the run.
        stored: its snapshot.

    Raises:
        ReadError: the file is there and cannot be read, or it is to be recorded anew and cannot be reached.
        NoBaselineError: neither the file nor its snapshot is there, or the file is to be recorded anew.
        SnapshotError: only the snapshot is there, or the path is a fingerprint, and it cannot be used.
    """
    logged = fingerprints.registered(registration)
    if logged is not None:  # it is what a snapshot would be, and stays as its run has logged it
        return logged, Finding()
    folder, shown = context.folder, registration.shown
    named = context.update and registration.id in context.rewrite
    recorded = stored.structure.source.recorded if stored.structure is not None else ""
    if named and recorded and not registration.there:
        problem = f"is recorded as {recorded} has it, and no file"
        raise NoBaselineError(
            shown, problem, "record another commit: ckpt-compat record --at REF --model ..."
        )
    if named and not registration.there:
        raise NoBaselineError(shown, "is absent, so it cannot be recorded anew", "fetch the file first")
    if not registration.there or (context.snapshots_only and stored.there):
        why = "" if registration.there or recorded else "is absent"
        return _from_snapshot(registration, definition, folder, stored, why)
    try:
        with told_as_registered(registration):
            structure, notes = read(registration, definition, None if named else stored.structure)
    except UnreachableError as error:
        if named or not stored.there:
            raise
        why = f"cannot be read here ({error.problem})"
        return _from_snapshot(registration, definition, folder, stored, why)
    structure = replace(structure, source=replace(structure.source, path=shown))
    found = compared(registration, definition, structure, context, stored)
    return structure, replace(found, notes=(*found.notes, *notes))


def compared(
    registration: Registration,
    definition: Definition,
    structure: Structure,
    context: Context,
    recorded: Stored,
) -> Finding:
    """Compares a file with its snapshot, or finds what an update writes for it."""
    folder, shown = context.folder, registration.shown
    name = store.checkpoint_name(registration.id)
    resume = registration.level.loads_optimizer
    named = context.update and registration.id in context.rewrite
    if recorded.error is not None and not named:  # the file is there, so its load has a verdict all the same
        return unusable(recorded.error)
    stored = None if named else recorded.structure
    same = stored is not None and fingerprint.digest(stored) == fingerprint.digest(structure)
    lacks = resume and same and structure.optimizers and stored is not None and not stored.optimizers
    if context.update and (stored is None or lacks):
        values = structure.values if definition.takes_checkpoint else None
        if definition.lightning and lightning.is_checkpoint(structure):
            values = lightning.kept(structure.values, resume)
        if definition.configured and CONFIG in structure.values:
            values = {**(values or {}), CONFIG: structure.values[CONFIG]}
        adapter = config_of(structure)
        if adapter is not None:
            values = {**(values or {}), adapters.CONFIG: adapter}
        text = fingerprint.dumps(structure, values, resume)
        return Finding(writes={name: text} if recorded.outdated_by(structure, resume) else {})
    if stored is None or lacks:
        if not lacks:
            return Finding(unrecorded=(shown,))
        detail = f"{store.shown(folder, name)} keeps no optimizer state; run {UPDATE}"
        return Finding(changes=(Change("no-baseline", detail=detail),))
    if not same or (resume and fingerprint.digest(stored, True) != fingerprint.digest(structure, True)):
        how = difference(stored, structure)
        detail = f"{shown} differs from its snapshot {store.shown(folder, name)} ({how})"
        return Finding(changes=(Change("stale-snapshot", detail=detail),))
    return Finding()


def of_unrecorded(findings: Iterable[Finding]) -> list[Change]:
    """One change about all that has no snapshot, since one update records it; [] where nothing lacks one."""
    names = [name for each in findings for name in each.unrecorded]
    detail = f"no snapshot of {' or of '.join(names)} has been recorded; run {UPDATE}"
    return [Change("no-baseline", detail=detail)] if names else []


def unusable(error: SnapshotError) -> Finding:
    return Finding(changes=(Change("unreadable", detail=str(error)),))


def read(
    registration: Registration, definition: Definition, stored: Structure | None = None
) -> tuple[Structure, tuple[str, ...]]:
    """Reads the checkpoint itself; notes which other state_dicts it holds.

    Args:
        registration: the checkpoint.
        definition: what it is to be loaded into.
        stored: its snapshot; which state_dict of the file it has stays chosen.

    Raises: as ``read_for``.
    """
    path = registration.address or registration.path
    recorded = None if stored is None else stored.source
    structure, notes = read_for(path, registration.key, definition, registration.strip_prefix, recorded)
    if definition.configured and (config := configuration(definition.path)) is not None:
        structure = replace(structure, values={**structure.values, CONFIG: config})
    if not registration.optimizer_path or not registration.level.loads_optimizer:
        return structure, notes
    structure, others = with_optimizers(structure, registration, definition, stored)
    return structure, (*notes, *others)


def _from_snapshot(
    registration: Registration, definition: Definition, folder: Path, recorded: Stored, why: str
) -> tuple[Structure, Finding]:
    """Takes the structure from the snapshot; where there is a reason worth a note, the note gives it."""
    name, shown = store.checkpoint_name(registration.id), registration.shown
    if recorded.error is not None:
        raise recorded.error
    stored = recorded.structure
    if stored is None:
        problem = f"neither the file nor its snapshot {store.shown(folder, name)} is there"
        advice = "fetch the file, or correct the path"
        if definition.configured and (model := repository(f"hf://{shown}")) and not model.inside:
            advice += f"; a model of the Hub is hf://{shown}"
        raise NoBaselineError(shown, problem, advice)
    whole = definition.parts or definition.loader is not None or not stored.source.parts
    if not whole or (definition.parts and not held(stored, definition)):
        problem = (
            f"its snapshot {store.shown(folder, name)} was recorded for a model of other parts, or of none"
        )
        raise NoBaselineError(shown, problem, "fetch the file, and record it again by its id")
    note = f"{shown} {why}: checked from its snapshot {store.shown(folder, name)}"
    structure = replace(stored, source=replace(stored.source, path=shown))
    return structure, Finding(notes=(note,) if why else ())
