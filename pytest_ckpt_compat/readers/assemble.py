"""From the inert value of a pickle to the structure of the state_dict in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat.readers import limits
from pytest_ckpt_compat.readers.containers import choose, mapping_of, no_tensors
from pytest_ckpt_compat.readers.inert import Made, OrderedMapping, Tensor
from pytest_ckpt_compat.readers.limits import over_limit
from pytest_ckpt_compat.readers.modules import is_module, module_entries
from pytest_ckpt_compat.readers.plain import is_exact, plain_values
from pytest_ckpt_compat.structure import (
    ITEM_SIZES,
    OBJECT,
    Location,
    Source,
    Structure,
    TensorSpec,
    alias_groups,
)


def assemble(root: Any, path: str, file_format: str, key: str | None, *, locatable: bool) -> Structure:
    """The structure of the state_dict in ``root``.

    Args:
        root: what the pickle holds, inert.
        path: the file, as the user named it.
        file_format: for ``Source.format``.
        key: dotted path of the state_dict, or None to find it.
        locatable: whether the bytes in the file's records are in this machine's order.
    """
    found = choose(root, key)
    entries = module_entries(found.value) if is_module(found.value) else mapping_of(found.value) or {}
    if len(entries) > limits.KEYS:
        raise over_limit("keys in its state_dict", limits.KEYS)
    tensors = {name: entry for name, entry in entries.items() if type(entry) is Tensor}
    if not tensors:
        raise no_tensors()
    return Structure(
        {name: _spec(entry) for name, entry in entries.items()},
        aliases=alias_groups({name: _identity(tensor) for name, tensor in tensors.items()}),
        versions=_versions(found.value),
        source=Source(path, file_format, found.key),
        values=plain_values(root),
        objects={name: entry for name, entry in entries.items() if is_exact(entry)},
        locations={
            name: _location(tensor, path) for name, tensor in tensors.items() if locatable and tensor.plain
        },
    )


def _spec(entry: Any) -> TensorSpec:
    return TensorSpec(entry.dtype, entry.size) if type(entry) is Tensor else TensorSpec(OBJECT)


def _identity(tensor: Tensor) -> object:
    """Equal for tensors that are one: the same view of the same storage, or the same object."""
    if tensor.storage is None:
        return id(tensor)
    return tensor.storage.record, tensor.dtype, tensor.offset, tensor.size, tensor.stride


def _location(tensor: Tensor, path: str) -> Location:
    assert tensor.storage is not None  # noqa: S101 - plain tensors have one
    return Location(path, tensor.storage.record, int(tensor.offset * ITEM_SIZES[tensor.dtype]), tensor.stride)


def _versions(state_dict: Any) -> Mapping[str, int] | None:
    """Module versions other than 1 from ``state_dict()._metadata``, None where there is none."""
    state = state_dict.state if type(state_dict) is OrderedMapping or type(state_dict) is Made else None
    metadata = mapping_of(state.get("_metadata")) if isinstance(state, dict) else None
    if metadata is None:
        return None
    versions = {}
    for module, facts in metadata.items():
        version = facts.get("version") if isinstance(facts, dict) else None
        if type(module) is str and type(version) is int and version != 1:
            versions[module] = version
    return versions
