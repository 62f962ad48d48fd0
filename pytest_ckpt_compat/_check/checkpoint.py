"""A registered checkpoint: the load, and the snapshots of the checkpoint and of the definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._check import acceptance
from pytest_ckpt_compat._check.check import check_structure, could_not_check, resumed
from pytest_ckpt_compat._check.snapshots import Context, Finding, definition_name, frozen, latest, read
from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.changes import Policy, Verdict
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.load import load_weights
from pytest_ckpt_compat._premerge import new_breaks as against
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import accepted
from pytest_ckpt_compat._snapshots import folder as snapshots

if TYPE_CHECKING:
    from torch import nn

UPDATE_ONE = "ckpt-compat update"


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
    def tensors(self) -> int | None:
        """How many tensors of the checkpoint were loaded, or None where it came to no load."""
        main = self.verdicts[0]
        return len(main.old.tensors) if main.old is not None and main.new is not None else None


def used_names(registration: Registration) -> tuple[str, ...]:
    """Names of the snapshots that belong to a registration.

    Raises:
        CkptCompatError: the definition cannot be found, so its snapshot is not known.
    """
    definition = find(registration.model, registration.kwargs)
    return snapshots.checkpoint_name(registration.id), definition_name(registration, definition)


def check_registered(registration: Registration, context: Context) -> Result:
    """Checks a registered checkpoint; writes nothing, and says what an update would write.

    Raises:
        UsageError: the registration says something that cannot be meant, or git cannot be asked.
    """
    writes: dict[str, str] = {}
    try:
        entries = accepted.load(context.folder)
        definition = find(registration.model, registration.kwargs)
        structure, stored = frozen(registration, definition, context)
        writes.update(stored.writes)
        verdict = check_structure(structure, definition, registration.policy, registration.strip_prefix)
        if registration.level == "resume":
            verdict = resumed(verdict, definition, registration.optimizer, registration.policy)
        name = definition_name(registration, definition)
        subject = against.Subject(registration, definition, context.folder, name, structure)
        own = latest(subject, verdict, context)
        verdicts = _plain(subject, verdict, stored, own, context)
        if context.earlier is not None:
            verdicts = acceptance.cover(verdicts, entries, context.today)
            verdicts = against.compare(subject, verdicts, context.earlier)
    except CkptCompatError as error:
        if error.rule is None:
            raise
        return Result((could_not_check(error, registration.id),), writes)
    whole = {registration.id, *([subject.identifier] if context.base else [])}
    verdicts = acceptance.apply(verdicts, entries, context.today, whole)
    if own.later and verdicts[0].compatible:
        first = replace(verdicts[0], changes=(*judge(own.later, Policy()), *verdicts[0].changes))
        verdicts = (
            against.unrecorded(subject, first, context.earlier) if context.earlier else first,
            *verdicts[1:],
        )
    ref = context.base.ref if context.base else ""
    return Result(tuple(with_commands(each, ref) for each in verdicts), writes | dict(own.writes))


def _plain(
    subject: against.Subject, verdict: Verdict, stored: Finding, own: Finding, context: Context
) -> tuple[Verdict, ...]:
    """The load's verdict with what the snapshots add to it, and the verdict of the definition's own."""
    level = subject.registration.level
    found = judge((*stored.changes, *own.changes), Policy())
    notes = [*stored.notes, *own.notes, *verdict.notes]
    if level in ("forward", "full") and context.base is None:
        notes.append(f"level {level}: earlier code was not asked; give --ckpt-against")
    verdict = replace(
        verdict, name=subject.registration.id, changes=(*found, *verdict.changes), notes=tuple(notes)
    )
    return tuple(against.at_level(each, level) for each in (verdict, *own.verdicts))


def with_commands(verdict: Verdict, ref: str = "") -> Verdict:
    """The verdict, and how to accept what fails in it, compared with ``ref`` if there is one."""
    repairs = [(label, text) for label, text in verdict.repairs if label != "accept"]
    if any(change.kind == "stale-snapshot" for change in verdict.changes):
        repairs.append(("record", f"{UPDATE_ONE} {verdict.name}"))
    repairs += [("accept", command) for command in acceptance.commands(verdict, ref)]
    return replace(verdict, repairs=tuple(repairs))


def lost(context: Context, used: Iterable[str]) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Snapshots of the reference that nothing registered stands for; and what was renamed, in words.

    Args:
        context: of the run.
        used: names of all snapshots that registered checkpoints stand for.

    Raises:
        CkptCompatError: git or a file cannot be read.
    """
    if context.base is None:
        return (), ()
    entries, ref = accepted.load(context.folder), context.base.ref
    found, said = against.lost(context.base, context.folder, used)
    applied = (acceptance.apply([each], entries, context.today, ())[0] for each in found)
    return tuple(with_commands(each, ref) for each in applied), said


def load(registration: Registration) -> nn.Module:
    """The registered model with the registered checkpoint's real weights loaded.

    Raises:
        ReadError: the file, or a tensor in it, cannot be read.
        BuildError: the definition cannot be found or built.
        RuntimeError: torch's own, where the load fails.
    """
    definition = find(registration.model, registration.kwargs)
    structure = read(registration)
    if registration.strip_prefix:
        structure = prefixes.strip(structure, registration.strip_prefix)
    return load_weights(definition, structure, registration.policy.strict)
