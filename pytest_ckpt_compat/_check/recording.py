"""What an update would write for a checkpoint that has been checked already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pytest_ckpt_compat._check import acceptance, definition_snapshot, guard, snapshots
from pytest_ckpt_compat._check.context import Context, Subject
from pytest_ckpt_compat._check.logged import is_fingerprint
from pytest_ckpt_compat._check.update import Over
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._snapshots import accepted, fingerprint


@dataclass(frozen=True)
class Loaded:
    """What a check knows once a checkpoint was read and loaded, before anything was compared with it.

    Attributes:
        subject: the checkpoint and its definition.
        verdict: the load's.
    """

    subject: Subject
    verdict: Verdict


@dataclass(frozen=True)
class Recording:
    """What is to be written.

    Attributes:
        writes: snapshot name -> text.
        over: snapshot name -> what outputs say of the definition that is written over.
    """

    writes: Mapping[str, str] = field(default_factory=dict)
    over: Mapping[str, Over] = field(default_factory=dict)


def recording(loaded: Loaded, context: Context) -> Recording | None:
    """What an update would write; None where the file has to be checked anew to know that.

    Args:
        loaded: of a check.
        context: of an update. A checkpoint whose frozen snapshot is recorded anew is read once more, as its
            snapshot no longer says which state_dict of the file is meant.

    Raises:
        CkptCompatError: a file cannot be read.
    """
    subject, registration = loaded.subject, loaded.subject.registration
    stored = snapshots.stored_of(registration, context.folder)
    own = snapshots.Finding()
    if registration.id in context.rewrite:
        with context.reading(registration):
            found, own = snapshots.of_checkpoint(registration, subject.definition, context, stored)
        if fingerprint.digest(found, True) != fingerprint.digest(subject.structure, True):
            return None
    elif subject.structure.source.format != fingerprint.SOURCE and not is_fingerprint(registration):
        own = snapshots.compared(registration, subject.definition, subject.structure, context, stored)
    definition = definition_snapshot.of_definition(subject, loaded.verdict, context)
    named = replace(loaded.verdict, name=registration.id)
    (covered,) = acceptance.cover([named], accepted.load(context.folder), context.today)
    migrations = guard.of_migrations(subject, covered, context, stored, own.writes)
    return Recording({**own.writes, **migrations.writes, **definition.writes}, definition.over)
