"""Guards the migrations that checkpoints need: one that is removed or changed is told (CK404)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_ckpt_compat._check.breaks import is_break
from pytest_ckpt_compat._check.context import Context, Subject
from pytest_ckpt_compat._check.snapshots import Finding, Stored
from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.migrated import Migrated, Origin
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.arrivals import arriving
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._snapshots import fingerprint, migrated_data, store

#: Kinds of breaks beside which the model's own load is known to succeed.
_BESIDE_THE_LOAD: frozenset[Kind] = frozenset({"optimizer-mismatch", "unopenable"})


def of_migrations(
    subject: Subject, verdict: Verdict, context: Context, recorded: Stored, writes: Mapping[str, str]
) -> Finding:
    """Compares what migrations make of a checkpoint with what its snapshot says that they made of it.

    Args:
        subject: the checkpoint and its definition.
        verdict: the load's.
        context: of the run.
        recorded: the checkpoint's snapshot.
        writes: snapshot name -> text that the update writes besides.
    """
    stored = recorded.structure
    before = stored.migrated if stored is not None else None
    named = context.update and subject.registration.id in context.rewrite
    changes: tuple[Change, ...] = ()
    if (
        stored is not None
        and not named
        and fingerprint.digest(stored) != fingerprint.digest(subject.structure)
    ):
        return Finding()  # the file was replaced (CK902): what the snapshot says is of other tensors
    if stored is not None and not named:
        changes = lost(stored, verdict, subject.definition, subject.registration.strip_prefix)
    settled = _settled(verdict)
    now = verdict.migrated
    needed = now if settled and now is not None and (now.names or now.version) else None
    if context.update:
        kept = needed if named or (settled and not changes) else before
        return Finding(changes=changes, writes=_recorded(subject, writes, kept, stored))
    notes: tuple[str, ...] = ()
    if stored is not None and not changes and needed != before and settled:
        notes = (_unrecorded(before, needed),)
    return Finding(changes=changes, notes=notes)


def lost(
    stored: Structure, verdict: Verdict, definition: Definition, prefix: str | None
) -> tuple[Change, ...]:
    """What migrations no longer do that made a checkpoint load when its snapshot was recorded.

    Args:
        stored: the snapshot.
        verdict: the load's.
        definition: what the checkpoint is loaded into, with the migrations that are registered.
        prefix: the one that is stripped before they run, or None.
    """
    if stored.migrated is None:
        return ()
    known = prefixes.strip(stored, prefix) if prefix else stored
    return _changes(stored.migrated, known, verdict, definition)


def _settled(verdict: Verdict) -> bool:
    """Whether the checkpoint loads, so that what it takes to load it is known."""
    breaks = filter(is_break, verdict.changes)
    return verdict.new is not None and all(each.kind in _BESIDE_THE_LOAD for each in breaks)


def _unrecorded(before: Migrated | None, needed: Migrated | None) -> str:
    if needed is None or not needed.names:
        names = ", ".join(before.names) if before is not None else ""
        if names:
            return f"it loads without {names} today; {UPDATE} records that"
        if needed is None:
            return f"its snapshot keeps a version that nothing asks for today; {UPDATE} takes it out"
        return f"the version of the file is not recorded; {UPDATE} records that"
    return f"what {', '.join(needed.names)} does is not recorded; {UPDATE} guards it"


def _recorded(
    subject: Subject, writes: Mapping[str, str], kept: Migrated | None, stored: Structure | None
) -> dict[str, str]:
    """The checkpoint's snapshot with what its migrations do; nothing if that is what it says already."""
    name = store.checkpoint_name(subject.registration.id)
    if name in writes:
        return {name: migrated_data.with_migrated(writes[name], kept, subject.structure.tensors)}
    if stored is None or stored.migrated == kept:
        return {}
    text = store.text_of(subject.folder, name)
    return {name: migrated_data.with_migrated(text, kept, stored.tensors)}


def _changes(
    before: Migrated, stored: Structure, verdict: Verdict, definition: Definition
) -> tuple[Change, ...]:
    """What goes another way than when the snapshot was recorded; nothing as long as that does not matter."""
    if not before.names:
        return ()
    registered = definition.remap.names if definition.remap is not None else ()
    removed = [name for name in before.names if name not in registered]
    moved = list(_moved(before, stored, verdict))
    told = [_told(*each) for each in moved]
    if removed and not moved and _fails_for(before, verdict):
        told = [_told(key, origin, None) for key, origin in before.origins.items()]
    elif moved and _settled(verdict):  # a hook of a module may do today what a migration did
        found = arriving(verdict.before or verdict.old or stored, definition)
        told = [_told(*each) for each in moved if found.get(each[0]) != each[1]]
    if not told:
        return ()
    names = removed or list(before.names)
    which = f"migrations {', '.join(names)} are" if len(names) > 1 else f"migration {names[0]} is"
    what = "no longer registered" if removed else "not as recorded"
    more = f", and {len(told) - 1:,} more" if len(told) > 1 else ""
    return (Change("migration-needed", detail=f"{which} {what}: {told[0]}{more}"),)


def _told(key: str, then: Origin, today: Origin | None) -> str:
    if today is not None:
        return f"{key} gets {today}, not {then}"
    return f"{key} is taken away" if then == Origin((key,)) else f"{then} -> {key}"


def _moved(
    before: Migrated, stored: Structure, verdict: Verdict
) -> Iterator[tuple[str, Origin, Origin | None]]:
    """The definition's keys that get other values than they got when the snapshot was recorded, or none.

    Each with where its values came from then, and where they come from today. Keys that the definition no
    longer has say nothing: it may have renamed them itself.
    """
    if verdict.new is None or verdict.old is None:
        return
    missing = {key for change in verdict.changes for key in change.new if key not in change.old}
    for key in verdict.new.tensors:
        then = before.origin(key, stored.tensors)
        today = _today(key, verdict)
        if then is None or then == today or (today is None and key not in missing):
            continue
        yield key, then, today


def _today(key: str, verdict: Verdict) -> Origin | None:
    """Where a key of what the load was given comes from; None if the load was given no such key."""
    if verdict.old is None or key not in verdict.old.tensors:
        return None
    origins = verdict.migrated.origins if verdict.migrated is not None else {}
    return origins.get(key, Origin((key,)))


def _fails_for(before: Migrated, verdict: Verdict) -> bool:
    """Whether a break is about a key that the migrations took or made, or about none in particular."""
    known = {*before.origins, *(key for each in before.origins.values() for key in each.keys)}
    breaks = filter(is_break, verdict.changes)
    return any(not (each.old or each.new) or not known.isdisjoint((*each.old, *each.new)) for each in breaks)
