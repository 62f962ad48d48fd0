"""Structures of several parts, one state_dict each, as one: each key begins with its part's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.structure import OptimizerState, Source, Structure

_V = TypeVar("_V")

#: The version under a part's name where its state_dict has no ``_metadata``, though another's has.
_NO_METADATA = 0


def joined(parts: Mapping[str, Structure], source: Source) -> Structure:
    """One structure of all parts: the keys of each after its name and a dot.

    Args:
        parts: name -> structure. What belongs to the file as a whole is that of the first.
        source: of the whole.
    """
    if not parts:
        return Structure({}, source=source)
    first = next(iter(parts.values()))
    bare = {name: replace(each, optimizers={}) for name, each in parts.items()}
    named = [prefixes.prepend(each, f"{name}.") for name, each in bare.items()]
    pickled = [each.pickled for each in parts.values() if each.pickled is not None]
    return Structure(
        tensors=_merged([each.tensors for each in named]),
        aliases=tuple(group for each in named for group in each.aliases),
        views=tuple(group for each in named for group in each.views),
        identical=tuple(group for each in named for group in each.identical),
        versions=_versions(parts, named),
        source=source,
        values=first.values,
        objects=_merged([each.objects for each in named]),
        locations=_merged([each.locations for each in named]),
        strides=_merged([each.strides for each in named]),
        contents=_merged([each.contents for each in named]),
        optimizers=by_part(first.optimizers, parts),
        modules=_merged([each.modules for each in named]),
        settings=_merged([each.settings for each in named]),
        pickled=next((each for each in pickled if each.module), pickled[0] if pickled else None),
    )


def by_part(
    states: Mapping[str, OptimizerState], parts: Mapping[str, Structure]
) -> dict[str, OptimizerState]:
    """The states of optimizers, which name parameters, if at all, by the keys of the whole."""
    return {path: _of_part(state, parts) for path, state in states.items()}


def part_of(structure: Structure, name: str) -> Structure:
    """The part ``name`` of a structure that ``joined`` made. What belongs to the whole file, it has not."""
    start = f"{name}."

    def own(mapping: Mapping[str, _V]) -> dict[str, _V]:
        return {key: value for key, value in mapping.items() if key.startswith(start)}

    def groups(keys: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        return tuple(group for group in keys if all(key.startswith(start) for key in group))

    def inside(modules: Mapping[str, _V]) -> dict[str, _V]:
        return {path: each for path, each in modules.items() if f"{path}.".startswith(start)}

    versions = structure.versions
    if versions is not None:
        versions = {key: number for key, number in versions.items() if f"{key}.".startswith(start)}
        versions = None if versions.get(name) == _NO_METADATA else versions
    path = dict(structure.source.parts).get(name, name)
    whole = replace(
        structure,
        tensors=own(structure.tensors),
        aliases=groups(structure.aliases),
        views=groups(structure.views),
        identical=groups(structure.identical),
        versions=versions,
        source=replace(structure.source, container=path, others=(), parts=()),
        objects=own(structure.objects),
        locations=own(structure.locations),
        strides=own(structure.strides),
        contents=own(structure.contents),
        optimizers={},
        modules=inside(structure.modules),
        settings=inside(structure.settings),
        pickled=None,
    )
    return prefixes.strip(whole, start)


def _merged(mappings: Sequence[Mapping[str, _V]]) -> dict[str, _V]:
    return {key: value for each in mappings for key, value in each.items()}


def _versions(parts: Mapping[str, Structure], named: Sequence[Structure]) -> dict[str, int] | None:
    """The versions of all parts; None where no part has any."""
    without = [name for name, each in parts.items() if each.versions is None]
    if len(without) == len(parts):
        return None
    return {**_merged([each.versions or {} for each in named]), **dict.fromkeys(without, _NO_METADATA)}


def _of_part(state: OptimizerState, parts: Mapping[str, Structure]) -> OptimizerState:
    """An optimizer's state that names its parameters by the keys of the whole; else without the names."""
    named = [group.get("param_names") for group in state.options]
    names = [str(name) for each in named if isinstance(each, (list, tuple)) for name in each]
    if not names:
        return state
    owners = [part for part, each in parts.items() if all(name in each.tensors for name in names)]

    def settings(group: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in group.items() if name != "param_names"}
        listed = group.get("param_names")
        if len(owners) == 1 and isinstance(listed, (list, tuple)):
            own["param_names"] = [f"{owners[0]}.{name}" for name in listed]
        return own

    return replace(state, options=tuple(map(settings, state.options)))
