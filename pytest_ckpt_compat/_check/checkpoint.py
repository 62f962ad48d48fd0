"""The check of one registered checkpoint: the load, the two snapshots, and the merge base."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._check import acceptance, definition_snapshot, guard, snapshots
from pytest_ckpt_compat._check.breaks import at_level, is_break, may_be_migrated
from pytest_ckpt_compat._check.check import check_structure, could_not_check, resumed
from pytest_ckpt_compat._check.context import Context, MergeBase, Subject
from pytest_ckpt_compat._check.definition_snapshot import definition_name
from pytest_ckpt_compat._check.logged import is_fingerprint
from pytest_ckpt_compat._check.proven import with_proven
from pytest_ckpt_compat._check.recording import Loaded
from pytest_ckpt_compat._check.snapshots import Finding
from pytest_ckpt_compat._check.update import Over
from pytest_ckpt_compat._check.wrapper import PREFIX
from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.errors import ReadError, SnapshotError
from pytest_ckpt_compat._core.parts import part_of
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.severities import graded
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.find import Definition, find_registered
from pytest_ckpt_compat._definition.load import load_weights
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._registry.options import LIBRARIES
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import accepted, store

if TYPE_CHECKING:
    from torch import nn


_FAILING = (Severity.ERROR, Severity.INCOMPLETE)


@dataclass(frozen=True)
class Result:
    """What the check of one registered checkpoint found.

    Attributes:
        verdicts: the checkpoint's; then, where it differs, the definition's against its own snapshot.
        writes: snapshot name -> text that an update has to write.
        over: snapshot name -> what outputs say of the definition that is written over.
        loaded: what is known of a checkpoint that could be read and loaded, or None.
    """

    verdicts: tuple[Verdict, ...]
    writes: Mapping[str, str] = field(default_factory=dict)
    over: Mapping[str, Over] = field(default_factory=dict)
    loaded: Loaded | None = None


def used_names(registration: Registration) -> tuple[str, ...]:
    """Names of the snapshots that a registration uses.

    Raises:
        CkptCompatError: the definition cannot be found, so the name of its snapshot is unknown.
    """
    if registration.problem is not None:
        raise registration.problem
    if is_fingerprint(registration):
        return ()
    own = store.checkpoint_name(registration.id)
    if registration.model is None and registration.load in LIBRARIES:  # the checkpoint names the class
        return own, store.definition_name(registration.id)
    return own, definition_name(registration, find_registered(registration))


def check_registered(registration: Registration, context: Context) -> Result:
    """Checks a registered checkpoint; returns what an update would write, and writes nothing.

    Whatever raises becomes a verdict that the checkpoint could not be checked, so that no checkpoint costs
    another its own.
    """
    writes: dict[str, str] = {}
    if registration.problem is not None:
        return Result((could_not_check(registration.problem, registration.id),))
    try:
        return _checked(registration, context, writes)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Result((could_not_check(error, registration.id),), writes)
    finally:
        context.doing("")


def _checked(registration: Registration, context: Context, writes: dict[str, str]) -> Result:
    """The check; ``writes`` gets the checkpoint's snapshot as soon as it is known."""
    entries, unread = _accepted(context.folder)
    recorded = snapshots.stored_of(registration, context.folder)
    context.doing(f"finding the model of {registration.id}")
    definition = context.builds.of(registration, find_registered(registration, config=recorded.config))
    context.doing(f"reading {registration.shown}")
    with context.reading(registration):
        structure, stored = snapshots.of_checkpoint(registration, definition, context, recorded)
    writes.update(stored.writes)
    name = definition_name(registration, definition)
    subject = Subject(registration, definition, context.folder, name, structure, context.elsewhere)
    context.doing(f"building {definition.label} for {registration.id}")
    verdict = check_structure(
        structure,
        definition,
        registration.policy,
        registration.strip_prefix,
        lambda: definition_snapshot.recorded_definitions(subject, context.merge_base),
    )
    checked = verdict
    verdict = replace(verdict, changes=(*unread, *verdict.changes))
    if registration.level.loads_optimizer:
        verdict = resumed(verdict, definition, registration.optimizer, registration.policy, structure)
    loaded = Loaded(subject, verdict)
    own = definition_snapshot.of_definition(subject, verdict, context)
    named = replace(verdict, name=registration.id)
    (covered,) = acceptance.cover([named], entries, context.today)
    migrations = guard.of_migrations(subject, covered, context, recorded, stored.writes)
    writes.update(migrations.writes)
    verdicts = _with_snapshots(subject, verdict, (stored, own, migrations), context)
    if context.merge_base is not None:
        context.doing(f"asking {context.label} about {registration.id}")
        verdicts = acceptance.cover(verdicts, entries, context.today)
        verdicts = _compared(subject, verdicts, context.merge_base, context.update)
    whole = {registration.id, *([subject.identifier] if context.merge_base else [])}
    verdicts = acceptance.apply(verdicts, entries, context.today, whole, context.ref)
    if own.later and verdicts[0].compatible:
        first = replace(verdicts[0], changes=(*judge(own.later, Policy()), *verdicts[0].changes))
        if context.merge_base is not None:
            first = context.merge_base.require_recorded(subject, first)
        verdicts = (first, *verdicts[1:])
    verdicts = tuple(graded(each, context.severities) for each in verdicts)
    record = acceptance.recorded_by(verdicts[0], context.ref)
    first, *others = (with_commands(each, context.ref, record) for each in verdicts)
    if definition.loader is None and may_be_migrated(first):
        command = f"ckpt-compat migrate {shlex.quote(registration.id)}"
        # The code takes the prefix off, too: done by hand besides, it would find none of its keys.
        repairs = (each for each in first.repairs if each[0] not in PREFIX)
        first = replace(first, repairs=(("fix", command), *repairs))
        if context.paged:
            from pytest_ckpt_compat._check.offered import with_code

            first = with_code(first, subject, context, own.proven, checked)
    return Result((first, *others), writes | dict(own.writes), own.over, loaded)


def _accepted(folder: Path) -> tuple[tuple[accepted.Entry, ...], tuple[Change, ...]]:
    """The accepted breaks; none, and a change that says why, where their file cannot be used."""
    try:
        return accepted.load(folder), ()
    except SnapshotError as error:
        return (), could_not_check(error).changes


def _compared(
    subject: Subject, verdicts: tuple[Verdict, ...], merge_base: MergeBase, update: bool
) -> tuple[Verdict, ...]:
    """The verdicts, compared with the merge base; if that fails, what torch found stays in them."""
    try:
        return merge_base.compare(subject, verdicts, update)
    except Exception as error:
        failed = could_not_check(error).changes
        return (replace(verdicts[0], changes=(*failed, *verdicts[0].changes)), *verdicts[1:])


def expected_to_break(result: Result, reason: str, strict: bool = False) -> Result:
    """The result of a checkpoint whose test is marked ``xfail``: its breaks are accepted.

    Args:
        result: what the check found.
        reason: the mark's.
        strict: whether a checkpoint that does not break is a failure.
    """
    first, *others = result.verdicts
    if strict and all(verdict.compatible for verdict in result.verdicts):
        detail = f"it loads, and its test is marked xfail(strict=True) ({reason}): take the mark off"
        (found,) = judge([Change("unused-acceptance", detail=detail)], Policy())
        failing = replace(found, severity=Severity.ERROR)
        return replace(result, verdicts=(replace(first, changes=(failing, *first.changes)), *others))
    accepted_verdicts = (
        verdict.with_severity(lambda c: c.severity in _FAILING, Severity.ACCEPTED, f"xfail: {reason}")
        for verdict in result.verdicts
    )
    return replace(result, verdicts=tuple(accepted_verdicts))


def _with_snapshots(
    subject: Subject, verdict: Verdict, findings: Sequence[Finding], context: Context
) -> tuple[Verdict, ...]:
    """The load's verdict with what the two snapshots add to it, then the definition's own verdicts."""
    level = subject.registration.level
    own = (change for each in findings for change in each.changes)
    found = judge([*snapshots.of_unrecorded(findings), *own], Policy())
    # A checkpoint that is a snapshot of the definition itself has told them already.
    told = {(each.kind, each.old, each.new, each.detail) for each in verdict.changes}
    settings = [change for each in findings for change in each.settings]
    settings = [each for each in settings if (each.kind, each.old, each.new, each.detail) not in told]
    found += judge(settings, subject.registration.policy)
    notes = [*(note for each in findings for note in each.notes), *verdict.notes]
    if level.loads_in_merge_base and context.merge_base is None:
        notes.append(f"level {level.value}: not checked against the merge base; pass --ckpt-against REF")
    proven = {old: new for each in findings for old, new in each.proven.items()}
    verdict = with_proven(verdict, proven, subject.registration.policy)
    verdict = replace(
        verdict, name=subject.registration.id, changes=(*found, *verdict.changes), notes=tuple(notes)
    )
    others = (each for finding in findings for each in finding.verdicts)
    return tuple(at_level(each, level) for each in (verdict, *others))


def with_commands(verdict: Verdict, ref: str = "", record: str = UPDATE) -> Verdict:
    """Adds the commands that record or accept what fails.

    Args:
        verdict: what failed.
        ref: the reference that it was compared with, or "".
        record: the command that records a definition that loads what it saved.
    """
    # What is accepted of a definition that only this branch recorded goes with a comparison alone.
    compared = acceptance.taken_out_by(ref)
    repairs = [
        (label, text.replace(UPDATE, compared, 1) if label == "record" else text)
        for label, text in verdict.repairs
        if label != "accept"
    ]
    failing = {change.kind for change in verdict.of(*_FAILING)}
    loads = not any(map(is_break, verdict.changes))
    if "stale-snapshot" in failing or ("migration-needed" in failing and loads):
        repairs.append(("record", f"{UPDATE} {shlex.quote(verdict.name)}"))
    if any(change.kind == "definition-changed" for change in verdict.of(Severity.ERROR)):
        repairs.append(("record", record))
    repairs += [("accept", command) for command in acceptance.commands(verdict, ref)]
    return replace(verdict, repairs=tuple(repairs))


def load(registration: Registration) -> nn.Module | dict[str, nn.Module]:
    """Builds the registered model and loads the checkpoint's real weights into it; of several parts, each.

    A checkpoint at an address is downloaded for it, and not kept.

    Raises:
        ReadError: the file, or a tensor in it, cannot be read or downloaded.
        BuildError: the definition cannot be found or built.
        RuntimeError: torch's own, where the load fails.
    """
    if registration.address:
        # Tensors stay mapped when the folder is removed; where a system objects, it is left to it.
        with TemporaryDirectory(prefix="ckpt-compat-", ignore_cleanup_errors=True) as folder:
            path = Path(readers.fetch(registration.address, folder))
            return load(replace(registration, path=path, address=""))
    definition = find_registered(registration)
    structure = snapshots.read(registration, definition)[0]
    if not definition.parts:
        return _loaded(registration, definition, structure)
    held = dict(structure.source.parts)
    lacking = [name for name in definition.parts if name not in held]
    if lacking:
        problem = f"it has no state_dict for the part {lacking[0]!r}"
        raise ReadError(registration.shown, problem, f"it has {', '.join(held)}: name the parts as it does")
    return {
        name: _loaded(registration, each, part_of(structure, name)) for name, each in definition.parts.items()
    }


def _loaded(registration: Registration, definition: Definition, structure: Structure) -> nn.Module:
    if registration.strip_prefix:
        structure = prefixes.strip(structure, registration.strip_prefix)
    structure = lightning.with_file(structure, definition.target, definition.hparams_file, definition.path)
    return load_weights(definition, structure, registration.policy.strict)
