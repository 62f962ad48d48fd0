"""Says what a project's remap made of a state_dict: renamed, computed, dropped, added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_ckpt_compat._core.structure import OBJECT, Structure, alias_groups
from pytest_ckpt_compat._definition.entries import identity, spec_of
from pytest_ckpt_compat._definition.find import Remap
from pytest_ckpt_compat._definition.watch import Watched, storage_of


@dataclass(frozen=True)
class Remapped:
    """What a remap made of a checkpoint.

    Attributes:
        name: the remap's.
        structure: what it returned, with the origin and the other values of the checkpoint.
        renamed: key -> key of the tensors that only got another name.
        computed: key -> the checkpoint's keys that its tensor was made from.
        dropped: the checkpoint's keys of which nothing is left.
        added: keys whose tensors have nothing of the checkpoint's.
    """

    name: str
    structure: Structure
    renamed: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def remapped(
    remap: Remap | None,
    old: Structure,
    state: Mapping[str, Any],
    given: Mapping[str, Any] | None,
    watched: Watched,
) -> Remapped | None:
    """Says what a remap did; None if there is none, or it failed.

    Args:
        remap: the project's.
        old: the structure of the checkpoint.
        state: the checkpoint's tensors, as the remap got them.
        given: what it returned.
        watched: the operators that ran meanwhile.
    """
    if remap is None or given is None:
        return None
    keys = {key: value for key, value in given.items() if isinstance(key, str)}
    tensors = {key: spec_of(value) for key, value in keys.items()}
    same = {key: identity(value) for key, value in keys.items() if tensors[key].numel}
    structure = _with(old, tensors, alias_groups(same))
    objects: dict[int, list[str]] = {}
    storages: dict[int, list[str]] = {}
    for key, value in state.items():
        objects.setdefault(id(value), []).append(key)
        storage = storage_of(value)
        if storage is not None:
            storages.setdefault(storage, []).append(key)
    place = {key: number for number, key in enumerate(state)}
    renamed: dict[str, str] = {}
    computed: dict[str, tuple[str, ...]] = {}
    added, used = [], set()
    for key, value in keys.items():
        names = objects.get(id(value), [])
        if names:
            used.update(names)
            if key not in names:
                renamed[names[0]] = key
            continue
        roots = watched.origins(value)
        origins = sorted(
            {each for storage in roots for each in storages.get(storage, ())}, key=place.__getitem__
        )
        used.update(origins)
        if origins:
            computed[key] = tuple(origins)
        elif tensors[key].dtype != OBJECT:
            added.append(key)
    dropped = tuple(key for key in state if key not in used)
    return Remapped(remap.name, structure, renamed, computed, dropped, tuple(added))


def _with(old: Structure, tensors: Mapping[str, Any], aliases: Iterable[tuple[str, ...]]) -> Structure:
    """The checkpoint with other entries."""
    return replace(
        old,
        tensors=tensors,
        aliases=tuple(aliases),
        objects={},
        locations={},
        strides={},
        contents={},
        views=(),
    )


def remarks(done: Remapped) -> tuple[str, ...]:
    """What a remap did, a line for the reader."""
    parts = [
        _part("renamed", [f"{a} -> {b}" for a, b in done.renamed.items()]),
        _part("computed", [f"{b} from {', '.join(a[:3])}" for b, a in done.computed.items()]),
        _part("dropped", list(done.dropped)),
        _part("added", list(done.added)),
    ]
    told = "; ".join(part for part in parts if part)
    return (f"remap {done.name}: {told or 'changed nothing'}",)


def _part(what: str, items: list[str]) -> str:
    """``renamed 12: a -> b, c -> d, ...``."""
    shown = ", ".join(items[:2]) + (", ..." if len(items) > 2 else "")
    return f"{what} {len(items)} ({shown})" if items else ""
