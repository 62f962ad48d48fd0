"""Whether a branch computes something else than its merge base: by its snapshot, or by its code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_ckpt_compat._check import outputs
from pytest_ckpt_compat._check.check import diff
from pytest_ckpt_compat._check.context import Subject
from pytest_ckpt_compat._check.outputs import Compared
from pytest_ckpt_compat._check.proven import with_proven
from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._premerge.merge_base_code import Answer
from pytest_ckpt_compat._snapshots import fingerprint, store


def compare(
    subject: Subject, main: Verdict, recorded: Structure | None, ask: Callable[[str], Answer], label: str
) -> Verdict:
    """Adds what is computed otherwise than at the merge base, and marks what its code computes, too.

    Args:
        subject: the checkpoint and its definition.
        main: the checkpoint's verdict.
        recorded: the definition as the merge base has it, or None.
        ask: runs the merge base's definition with the inputs of a name; only called where its snapshot has
            no outputs, or they differ.
        label: how messages name the merge base.
    """
    new = main.new
    if subject.registration.inputs is None or new is None:
        return main
    try:
        name = outputs.name_of(subject.registration)
        known = recorded if recorded is not None and name in recorded.outputs else None
        before = known or _earlier(ask(name))
    except CkptCompatError as error:
        return replace(main, notes=(*main.notes, f"outputs not compared with {label}: {error}"))
    if before is None:
        return replace(main, notes=(*main.notes, f"outputs not compared with {label}: it was not run there"))
    if not _is_own(subject, before):
        main = _with(subject, main, _compared(subject, main, before, new), label)
    if known is None or not any(map(_is_open, main.changes)):
        return main
    try:
        code = _earlier(ask(name))
    except CkptCompatError:
        return main
    if code is None or _drifts(_compared(subject, main, code, new)):
        return main
    return main.with_severity(_is_open, Severity.EXISTING, label)


def _earlier(answer: Answer) -> Structure | None:
    found = answer.definition
    return found if found is not None and found.outputs else None


def _is_own(subject: Subject, before: Structure) -> bool:
    """Whether the work tree's snapshot says the same, so that the check has compared with it."""
    own = store.load(subject.folder, subject.name)
    same = own is not None and fingerprint.digest(own) == fingerprint.digest(before)
    return same and own is not None and dict(own.outputs) == dict(before.outputs)


def _compared(subject: Subject, main: Verdict, before: Structure, new: Structure) -> Compared:
    values = main.old.values if main.old else {}
    same = fingerprint.digest(before) == fingerprint.digest(new)
    changes = () if same else diff(before, new).changes
    return outputs.compared(subject.registration, subject.definition, values, (before, new), changes)


def _with(subject: Subject, main: Verdict, ran: Compared, label: str) -> Verdict:
    """The verdict with what a comparison adds; what stops one has been told of the check's own."""
    policy = subject.registration.policy
    main = with_proven(main, ran.proven, policy)
    notes = [f"beside {label}: {note}" for note in ran.notes]
    if any(each.kind == "no-baseline" for each in ran.changes):
        notes.append(f"outputs not compared with {label}: they were recorded for other inputs")
    drifts = [] if any(map(_is_open, main.changes)) else judge(_drifts(ran), policy)
    return replace(main, changes=(*main.changes, *drifts), notes=(*main.notes, *notes))


def _drifts(ran: Compared) -> list[Change]:
    return [each for each in ran.changes if each.kind == "output-drift"]


def _is_open(change: Change) -> bool:
    return change.kind == "output-drift" and change.severity is Severity.WARNING
