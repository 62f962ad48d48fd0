"""Compares a definition with its snapshot: does it still load what it saved when that was recorded?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_ckpt_compat._check import logged as fingerprints
from pytest_ckpt_compat._check import outputs
from pytest_ckpt_compat._check.breaks import in_the_same_way, shared
from pytest_ckpt_compat._check.check import check_saved, diff
from pytest_ckpt_compat._check.context import Context, MergeBase, Subject
from pytest_ckpt_compat._check.parts import held
from pytest_ckpt_compat._check.proven import with_proven
from pytest_ckpt_compat._check.settings import with_settings
from pytest_ckpt_compat._check.snapshots import Finding, Stored, stored_as, unusable
from pytest_ckpt_compat._check.update import Over, difference
from pytest_ckpt_compat._core.adapters import config_of
from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.steady import steady
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._registry.registration import Registration, definition_id
from pytest_ckpt_compat._snapshots import fingerprint, store

#: How a warning ends on a definition that is to be recorded.
RECORD_IT = f"; record it: {UPDATE}"
#: What follows where a definition changed as its checkpoint's break shows.
_UPDATE = "ckpt-compat update records today's"
#: What helps with a definition whose break is accepted for its checkpoint.
_RECORD_BREAK = "record it, and commit its snapshot with the change, as its break is accepted"
#: Then an update comes last: afterwards, what was computed belongs to today's keys.
_UPDATE_PROVEN = "migrate the checkpoint before ckpt-compat update records today's, which proves no rename"


def recorded_definitions(subject: Subject, merge_base: MergeBase | None) -> Iterator[Structure]:
    """The definition as its snapshot has it, then as the merge base has it: what a checkpoint may be of."""
    stored = stored_as(subject.folder, subject.name).structure
    if stored is not None:
        yield stored
    earlier = merge_base.recorded(subject) if merge_base is not None else None
    if earlier is not None:
        yield earlier


def of_definition(subject: Subject, main: Verdict, context: Context) -> Finding:
    """Judges the definition's snapshot by meaning: does the definition still load what it recorded?

    Args:
        subject: the checkpoint and its definition.
        main: the checkpoint's verdict.
        context: of the run.
    """
    definition, folder, name = subject.definition, subject.folder, subject.name
    new, values = main.new, main.old.values if main.old else {}
    if new is None or (main.old is not None and config_of(main.old) is not None):
        return Finding()  # what an adapter saves depends on its own configuration, not on the code alone
    if fingerprints.is_fingerprint(subject.registration):
        return Finding()  # the fingerprint itself has the definition, as it was at the training
    recorded = stored_as(folder, name)
    if context.update:
        return _updated(subject, main, values, recorded)
    if recorded.error is not None:
        return unusable(recorded.error)
    stored = recorded.structure
    if stored is None:
        return Finding(unrecorded=(subject.label,))
    if fingerprint.digest(stored) == fingerprint.digest(new):
        settings, notes = _settings(subject, stored, new, values)
        ran = outputs.compared(subject.registration, definition, values, (stored, new))
        return Finding(settings=(*settings, *ran.changes), notes=(*notes, *ran.notes))
    if held(stored, definition) != definition.parts.keys():
        detail = f"{store.shown(folder, name)} was recorded for a model of other parts; run {UPDATE}"
        return Finding(changes=(Change("no-baseline", detail=detail),))
    saved = replace(stored, values=values, source=replace(stored.source, path=store.shown(folder, name)))
    policy, others = subject.registration.policy, subject.elsewhere
    verdict = check_saved(saved, definition, policy, checkpoint=subject.structure, new=new, elsewhere=others)
    how = f"{difference(stored, new)}{RECORD_IT}"
    detail = f"the definition differs from its snapshot {store.shown(folder, name)} ({how})"
    changed = (Change("definition-changed", detail=detail),)
    settings, notes = _settings(subject, stored, new, values, verdict.changes)
    ran = outputs.compared(subject.registration, definition, values, (stored, new), verdict.changes)
    settings, notes = (*settings, *ran.changes), (*notes, *ran.notes)
    verdict = replace(verdict, changes=tuple(c for c in verdict.changes if c.kind != "settings-changed"))
    verdict, main = (with_proven(each, ran.proven, subject.registration.policy) for each in (verdict, main))
    if verdict.compatible:
        return Finding(changes=changed, settings=settings, notes=notes)
    if in_the_same_way(verdict, main, Severity.ERROR):
        what = f"a state_dict of the definition recorded in {store.shown(folder, name)} breaks"
        then = _UPDATE_PROVEN if ran.proven else _UPDATE
        note = f"{what} {shared(verdict, main, Severity.ERROR)}; {then}"
        later = tuple(
            replace(each, advice=_RECORD_BREAK) for each in changed
        )  # it does not load what it saved
        return Finding(notes=(note, *notes), later=later, settings=settings, proven=ran.proven)
    label = f"{verdict.old_label} (the definition as recorded)"
    repairs = (*verdict.repairs, ("record", f"{UPDATE}, if nothing was trained with it"))
    changes = (*verdict.changes, *judge(settings, subject.registration.policy))
    verdict = replace(verdict, changes=changes, name=subject.identifier, old_label=label, repairs=repairs)
    return Finding(verdicts=(verdict,), notes=notes, proven=ran.proven)


def _updated(subject: Subject, main: Verdict, values: Mapping[str, Any], recorded: Stored) -> Finding:
    """What an update of a definition's snapshot writes."""
    definition, registration = subject.definition, subject.registration
    new = main.new or Structure({})
    outdated = recorded.outdated_by(new)
    if outdated and definition.loader is None:
        new = steady(new, definition, values, registration.policy.memory_budget)
        outdated = recorded.outdated_by(new)
    ran = outputs.recorded(registration, definition, values, new, recorded.structure)
    before = {} if recorded.structure is None else recorded.structure.outputs
    if not outdated and dict(ran.outputs) == dict(before):
        return Finding(ran.changes, ran.notes)
    over = Over()
    if before and recorded.structure is not None:
        sides = recorded.structure, new
        now = outputs.compared(registration, definition, values, sides, diff(*sides).changes)
        told = tuple(each.detail for each in now.changes if each.kind == "output-drift")
        over = Over(dict(now.proven), told, "" if main.compatible else registration.id)
    text = fingerprint.dumps(replace(new, outputs=ran.outputs), whole=False)
    name = subject.name
    return Finding(ran.changes, ran.notes, writes={name: text}, over={name: over}, proven=over.proven)


def _settings(
    subject: Subject,
    stored: Structure,
    new: Structure,
    values: Mapping[str, Any],
    changes: Iterable[Change] = (),
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The settings that differ from the recorded ones, and do so whenever the definition is built."""
    found, notes = with_settings(stored, new, changes)
    if not found or subject.definition.loader is not None:
        return found, notes
    again = steady(new, subject.definition, values, subject.registration.policy.memory_budget)
    return with_settings(stored, again, changes)


def definition_name(registration: Registration, definition: Definition) -> str:
    """Name of the snapshot of a registered checkpoint's definition."""
    name = "" if definition.reads_checkpoint else definition.name
    return store.definition_name(definition_id(name, definition.kwargs, registration.id))
