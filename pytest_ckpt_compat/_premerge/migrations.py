"""Which migrations a branch brings, by which of them a checkpoint loads, and which it lacked before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_ckpt_compat._check.breaks import facts, is_break
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._check.context import Subject
from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.chain import without
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._premerge.merge_base_code import Answer
from pytest_ckpt_compat._premerge.missing import stored_at
from pytest_ckpt_compat._snapshots import store

#: Name of a question about the checkpoint itself.
CHECKPOINT = "checkpoint"


def lost_before(subject: Subject, main: Verdict, base: git.Base, ask: Callable[[str], Answer]) -> Verdict:
    """Marks as existing that a needed migration is gone, where the merge base lacks it in the same way.

    Args:
        subject: the checkpoint and its definition.
        main: the checkpoint's verdict.
        base: the merge base.
        ask: gives the merge base's answer about the checkpoint, with the text of its snapshot there.
    """

    def is_lost(change: Change) -> bool:
        return change.kind == "migration-needed" and change.severity is Severity.ERROR

    if not any(map(is_lost, main.changes)):
        return main
    path = store.path_of(subject.folder, store.checkpoint_name(subject.registration.id))
    try:
        text = git.read(base, path, files.SNAPSHOT_BYTES)
        before = ask(text) if text else None
    except (CkptCompatError, ValueError):  # unknown, so it counts as new
        return main
    known = facts(filter(is_lost, before.changes[CHECKPOINT])) if before and before.registered else set()
    return main.with_severity(
        lambda change: is_lost(change) and facts([change]) <= known, Severity.EXISTING, base.ref
    )


def compare(subject: Subject, main: Verdict, base: git.Base, ask: Callable[[], Answer]) -> Verdict:
    """Says by which new migrations a checkpoint loads that the merge base loads, and this branch would not.

    Args:
        subject: the checkpoint and its definition.
        main: the checkpoint's verdict.
        base: the merge base.
        ask: gives the merge base's answer about the checkpoint; called if its snapshot does not know all
            migrations of today.
    """
    done, chain = main.migrated, subject.definition.remap
    if done is None or chain is None or any(map(is_break, main.changes)):
        return main
    name = store.checkpoint_name(subject.registration.id)
    stored = stored_at(base, subject.folder, name)[0]
    known = stored.migrated.names if stored is not None and stored.migrated is not None else ()
    if not set(done.names) - set(known):
        return main
    try:
        before = ask()
        if not before.registered or any(map(is_break, before.changes[CHECKPOINT])):
            return main
        new = tuple(name for name in done.names if name not in before.migrations)
        if not new:
            return main
        definition = subject.definition.with_migrations(without(chain, new))
        registration = subject.registration
        verdict = check_structure(
            subject.structure, definition, registration.policy, registration.strip_prefix
        )
    except CkptCompatError:  # what is asked here decides nothing
        return main
    return replace(main, repaired_by=new) if any(map(is_break, verdict.changes)) else main
