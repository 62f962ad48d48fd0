"""What a checkpoint and its definition were at the merge base, loaded into today's definition."""

from __future__ import annotations

from dataclasses import replace

from pytest_ckpt_compat._check.breaks import at_level, in_the_same_way, is_break, shared
from pytest_ckpt_compat._check.check import check_saved, check_structure, resumed
from pytest_ckpt_compat._check.context import Subject
from pytest_ckpt_compat._check.trials import LOADS_WITH
from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._premerge.converted import is_converted
from pytest_ckpt_compat._premerge.missing import stored_at
from pytest_ckpt_compat._snapshots import fingerprint, store


def of_checkpoint(
    subject: Subject, main: Verdict, base: git.Base
) -> tuple[tuple[tuple[Verdict, Structure], ...], str]:
    """Loads the checkpoint as the merge base recorded it, if that was another; or notes why it does not.

    Args:
        subject: the checkpoint and its definition.
        main: the checkpoint's verdict.
        base: the merge base.

    Returns:
        The verdict and what was loaded, or nothing; and a note, or "".
    """
    shown = subject.registration.shown
    stored, note = stored_at(base, subject.folder, store.checkpoint_name(subject.registration.id))
    resume = subject.registration.level.loads_optimizer and stored is not None and bool(stored.optimizers)
    known = subject.structure
    if stored is not None and not _alike(subject.definition, stored):
        return (), f"{base.label} has it registered with other parts: not compared with what it recorded"
    if stored is None or fingerprint.digest(stored, resume) == fingerprint.digest(known, resume):
        return (), note
    label = f"{stored.source.path or shown} as {base.label} has it"
    if is_converted(stored, known, subject.registration.strip_prefix):
        return (), f"{shown} is what the migration made of {label}: only {shown} is checked from here on"
    verdict = _loaded(subject, stored, main, label, subject.registration.id)
    return ((verdict, stored),), note


def _alike(definition: Definition, stored: Structure) -> bool:
    """Whether a definition has the parts that a structure was recorded with; of most, both have none.

    A project's loader takes what it wants of a file.
    """
    return definition.loader is not None or definition.parts.keys() == dict(stored.source.parts).keys()


def with_definition(
    subject: Subject, recorded: Structure, main: Verdict, base: git.Base, as_named: str, update: bool = False
) -> tuple[Verdict, tuple[Verdict, ...]]:
    """Loads what the merge base's definition saved, unless today's definition or snapshot is the same.

    A snapshot that an update writes over counts for nothing.

    Args:
        subject: the checkpoint and its definition.
        recorded: the definition as the merge base has it.
        main: the checkpoint's verdict.
        base: the merge base.
        as_named: the definition that the merge base registers, with its arguments.
        update: whether it is written over.

    Returns:
        The checkpoint's verdict, with a note where the definition breaks by nothing else, and the
        definition's own verdict where it breaks in another.
    """
    before = _of_definition(subject, recorded, main, base, as_named, update)
    if before is None:
        return main, ()
    if not in_the_same_way(before, main, Severity.ERROR, Severity.ACCEPTED):
        return main, (before,)
    if before.compatible:
        return main, ()
    covered = in_the_same_way(before, main, Severity.ACCEPTED)
    what = "which are accepted for both" if covered else "so what is said of the checkpoint holds for it, too"
    alike = shared(before, main, Severity.ERROR, Severity.ACCEPTED)
    note = f"a state_dict of {before.old_label} breaks {alike}, {what}"
    return replace(main, alike=subject.identifier, notes=(*main.notes, note)), ()


def _of_definition(
    subject: Subject, recorded: Structure, main: Verdict, base: git.Base, as_named: str, update: bool
) -> Verdict | None:
    own = None if update else store.load(subject.folder, subject.name)
    known = [fingerprint.digest(each) for each in (main.new, own) if each is not None]
    if main.new is None or fingerprint.digest(recorded) in known or not _alike(subject.definition, recorded):
        return None
    model = as_named.partition("(")[0]  # another one than today's, if the branch registers another
    name = subject.definition.name if model == subject.identifier.partition("(")[0] else model
    label = f"{name} as {base.label} has it"
    return _loaded(subject, recorded, main, label, subject.identifier)


def with_arguments(verdict: Verdict, before: str, now: str) -> Verdict:
    """The verdict; where it breaks and the arguments of the model changed, it says so.

    Args:
        verdict: what breaks.
        before: the definition at the merge base, with its arguments: ``models.Net(classes=4)``.
        now: today's.
    """
    (model, _, earlier), (same, _, today) = before.partition("("), now.partition("(")
    if model != same or earlier == today or not any(map(is_break, verdict.changes)):
        return verdict
    told = f"the kwargs changed here, from {_arguments(earlier)} to {_arguments(today)}"
    advice = f"{told}: accept this if you mean it, or restore them"
    changes = [
        replace(each, advice=advice) if is_break(each) and each.advice.startswith(LOADS_WITH) else each
        for each in verdict.changes
    ]
    notes = verdict.notes if advice in (each.advice for each in changes) else (*verdict.notes, told)
    return replace(verdict, changes=tuple(changes), notes=notes)


def _arguments(written: str) -> str:
    """``classes=3`` of ``models.Net(classes=3)``."""
    return written.removesuffix(")") or "none"


def _loaded(subject: Subject, old: Structure, main: Verdict, label: str, name: str) -> Verdict:
    """Loads a structure into today's definition with the options of the registration."""
    values = old.values or (main.old.values if main.old else {})
    own = name == subject.registration.id
    policy = subject.registration.policy
    prefix = subject.registration.strip_prefix if own else None
    old = replace(old, values=values)
    if own:
        verdict = check_structure(old, subject.definition, policy, prefix)
    else:
        others = subject.elsewhere
        verdict = check_saved(old, subject.definition, policy, prefix, subject.structure, main.new, others)
    if own and subject.registration.level.loads_optimizer and old.optimizers:
        verdict = resumed(verdict, subject.definition, subject.registration.optimizer, policy, old)
    return at_level(replace(verdict, name=name, old_label=label), subject.registration.level)
