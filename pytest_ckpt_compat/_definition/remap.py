"""Says what migrations made of a state_dict: renamed, computed, dropped, added."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.structure import Structure, alias_groups
from pytest_ckpt_compat._definition.entries import identity, spec_of
from pytest_ckpt_compat._definition.watch import Watched, storage_of

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.migrated import Migrated

#: Most keys of one kind, and most sources of one tensor, that a note lists.
_SHOWN = 2
_SOURCES = 3


@dataclass(frozen=True)
class Remapped:
    """What migrations made of a checkpoint.

    Attributes:
        name: of what made it: the migrations, or Lightning's hook.
        before: the checkpoint, as the first of them got it.
        structure: what it returned, with the origin and the other values of the checkpoint.
        renamed: key -> key of the entries that only got another name.
        computed: key -> the checkpoint's keys that its tensor was made from.
        dropped: the checkpoint's keys of which nothing is left.
        added: keys whose entries have nothing of the checkpoint's.
        migrated: what each registered migration did, or None if there are none.
    """

    name: str
    before: Structure
    structure: Structure
    renamed: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    migrated: Migrated | None = None


def remapped(
    name: str, old: Structure, state: Mapping[str, Any], given: Mapping[str, Any], watched: Watched
) -> Remapped:
    """Says what migrations did.

    Args:
        name: of what made it.
        old: the structure of the checkpoint.
        state: the checkpoint's entries, as the first of them got them.
        given: what the last of them returned.
        watched: the operators that ran meanwhile.
    """
    entries = {key: value for key, value in given.items() if isinstance(key, str)}
    before, after = _by_entry(state), _by_entry(entries)
    kept: dict[str, str] = {}  # key in the checkpoint -> key of the same entry
    computed: dict[str, tuple[str, ...]] = {}
    for entry, keys in after.items():
        pairs = dict(_paired(before.get(entry, []), keys))
        kept |= pairs
        if pairs:  # an entry that was given another name besides
            computed |= {key: tuple(before[entry]) for key in keys if key not in pairs.values()}
    storages = _by_storage(state)
    for key in entries.keys() - kept.values() - computed.keys():
        roots = sorted(watched.origins(entries[key]) & storages.keys(), key=lambda each: storages[each][0])
        computed[key] = tuple(chain.from_iterable(storages[each][1] for each in roots))
    used = {*kept, *chain.from_iterable(computed.values())}
    return Remapped(
        name,
        before=old,
        structure=_with(old, entries, {new: key for key, new in kept.items()}, given),
        renamed={key: kept[key] for key in state if kept.get(key, key) != key},
        computed={key: computed[key] for key in entries if computed.get(key)},
        dropped=tuple(key for key in state if key not in used),
        added=tuple(key for key in entries if key in computed and not computed[key]),
    )


def _by_storage(state: Mapping[str, Any]) -> dict[int, tuple[int, list[str]]]:
    """Storage -> the position of the first key that has it, and all such keys."""
    found: dict[int, tuple[int, list[str]]] = {}
    for position, (key, value) in enumerate(state.items()):
        storage = storage_of(value)
        if storage is not None:
            found.setdefault(storage, (position, []))[1].append(key)
    return found


def _by_entry(state: Mapping[str, Any]) -> dict[Hashable, list[str]]:
    """The keys of each entry: of one tensor, or of one object."""
    found: dict[Hashable, list[str]] = {}
    for key, value in state.items():
        found.setdefault(_entry(value), []).append(key)
    return found


def _entry(value: Any) -> Hashable:
    spec = spec_of(value)
    return (spec, *identity(value)) if spec.numel else id(value)


def _paired(old: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs the keys of one entry on both sides: those that stayed, then the others in order."""
    stayed = [key for key in old if key in new]
    yield from ((key, key) for key in stayed)
    yield from zip(
        (key for key in old if key not in stayed), (key for key in new if key not in stayed), strict=False
    )


def _with(
    old: Structure, entries: Mapping[str, Any], origins: Mapping[str, str], given: Mapping[str, Any]
) -> Structure:
    """The checkpoint with what migrations returned instead of its entries.

    Args:
        old: the checkpoint.
        entries: what the last of them returned, by key.
        origins: key -> the checkpoint's key of the same entry.
        given: the mapping that it returned, whose ``_metadata`` has the versions of the modules.
    """

    def moved(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {key: fields[origins[key]] for key in entries if origins.get(key) in fields}

    tensors = {key: spec_of(value) for key, value in entries.items()}
    metadata = getattr(given, "_metadata", None)
    return replace(
        old,
        tensors=tensors,
        aliases=alias_groups({key: _entry(entries[key]) for key in entries if tensors[key].numel}),
        versions=None if metadata is None else _versions(metadata),
        objects=moved(old.objects),
        locations=moved(old.locations),
        strides=moved(old.strides),
        contents=moved(old.contents),
        views=(),
    )


def _versions(metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    versions = {name: each.get("version") for name, each in metadata.items()}
    return {name: version for name, version in versions.items() if version not in (None, 1)}


def remarks(done: Remapped, unwanted: Iterable[str]) -> tuple[str, ...]:
    """What migrations did, a line for the reader.

    Args:
        done: what they did.
        unwanted: keys that nothing in the definition wants.
    """
    parts = [
        _part("renamed", [f"{a} -> {b}" for a, b in done.renamed.items()]),
        _part("computed", [f"{b} from {', '.join(a[:_SOURCES])}" for b, a in done.computed.items()]),
        _part("dropped", list(done.dropped)),
        _part("added", list(done.added)),
    ]
    told = [part for part in parts if part] or ["changed nothing"]
    other = _part("returned unwanted", [key for key in unwanted if key in done.structure.tensors])
    return (f"{done.name}: {'; '.join((*told, other) if other else told)}",)


def _part(what: str, items: list[str]) -> str:
    """``renamed 12 (a -> b, c -> d, ...)``."""
    shown = ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
    return f"{what} {len(items)} ({shown})" if items else ""
