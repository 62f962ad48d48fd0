"""Prefixes that wrappers add to every key: ``module.``, ``_orig_mod.``, ``model.``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import OptimizerState, Structure

_V = TypeVar("_V")

#: Name under which a wrapper keeps the module that it wraps -> the wrapper.
WRAPPERS: Mapping[str, str] = MappingProxyType(
    {
        "_orig_mod": "torch.compile",
        "_fsdp_wrapped_module": "FSDP",
        "_checkpoint_wrapped_module": "activation checkpointing",
        "_forward_module": "Fabric",
        "base_layer": "peft",
        "module": "DataParallel or DistributedDataParallel",
    }
)


def unwrapped(key: str) -> tuple[str, tuple[str, ...]]:
    """Returns a key without the names under which wrappers keep their module, and these names."""
    *path, last = key.split(".")
    names = tuple(dict.fromkeys(name for name in path if name in WRAPPERS))
    return ".".join([*(name for name in path if name not in WRAPPERS), last]), names


def common(keys: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """Returns the prefix, with its dot, that all ``keys`` have and most of ``wanted`` lack; "" if none.

    Removing the prefix must give at least half of the wanted keys, and more of them than keeping it.
    """
    if not keys or not wanted:
        return ""
    first = next(iter(keys)).split(".")[:-1]
    best, best_hits = "", len(keys.keys() & wanted.keys())
    for depth in range(1, len(first) + 1):
        prefix = ".".join(first[:depth]) + "."
        if not all(key.startswith(prefix) for key in keys):
            break
        hits = sum(key[len(prefix) :] in wanted for key in keys)
        if hits > best_hits and 2 * hits >= len(wanted):
            best, best_hits = prefix, hits
    return best


def first(keys: Mapping[str, object]) -> str:
    """Returns the first segment with its dot if all keys begin with it, otherwise ""."""
    start = next(iter(keys), "").partition(".")
    prefix = start[0] + start[1]
    return prefix if start[1] and all(key.startswith(prefix) for key in keys) else ""


def strip(structure: Structure, prefix: str) -> Structure:
    """Returns ``structure`` without ``prefix`` on the keys that begin with it.

    Raises:
        ReadError: two keys become equal.
    """

    def bare(key: str) -> str:
        return key.removeprefix(prefix)

    # Versions are stored under a module's name, without a dot: "module" becomes "".
    return _rename(structure, bare, lambda name: (name + ".").removeprefix(prefix).removesuffix("."))


def prepend(structure: Structure, prefix: str) -> Structure:
    """Returns ``structure`` with ``prefix`` before every key."""
    return _rename(structure, lambda key: prefix + key, lambda name: (prefix + name).removesuffix("."))


def _rename(structure: Structure, key_of: Callable[[str], str], name_of: Callable[[str], str]) -> Structure:
    def keys(mapping: Mapping[str, _V]) -> dict[str, _V]:
        return {key_of(key): value for key, value in mapping.items()}

    def groups(keys: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(map(key_of, group)) for group in keys)

    tensors = keys(structure.tensors)
    if len(tensors) < len(structure.tensors):
        raise ReadError(
            structure.source.path,
            "has keys that become equal without the prefix",
            "omit strip_prefix, or choose another prefix",
        )
    versions = structure.versions
    return replace(
        structure,
        tensors=tensors,
        aliases=groups(structure.aliases),
        views=groups(structure.views),
        identical=groups(structure.identical),
        versions=None if versions is None else {name_of(name): v for name, v in versions.items()},
        objects=keys(structure.objects),
        locations=keys(structure.locations),
        strides=keys(structure.strides),
        contents=keys(structure.contents),
        modules={name_of(name): kind for name, kind in structure.modules.items()},
        settings={name_of(name): each for name, each in structure.settings.items()},
        optimizers={path: _renamed(state, key_of) for path, state in structure.optimizers.items()},
    )


def _renamed(state: OptimizerState, key_of: Callable[[str], str]) -> OptimizerState:
    """Returns an optimizer's state with its parameters renamed, if it identifies them by name."""

    def name(number: int | str) -> int | str:
        return key_of(number) if isinstance(number, str) else number

    def settings(group: Mapping[str, Any]) -> dict[str, Any]:
        names = group.get("param_names")
        renamed = {"param_names": [*map(name, names)]} if isinstance(names, (list, tuple)) else {}
        return {**group, **renamed}

    return replace(
        state,
        groups=tuple(tuple(map(name, group)) for group in state.groups),
        states={name(number): fields for number, fields in state.states.items()},
        values={name(number): fields for number, fields in state.values.items()},
        options=tuple(map(settings, state.options)),
    )
