"""Makes the structure of the state_dict inside a pickle's inert value."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_ckpt_compat._core.pickled import Pickled
from pytest_ckpt_compat._core.structure import (
    OBJECT,
    Source,
    Structure,
    TensorSpec,
    alias_groups,
)
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import over_limit
from pytest_ckpt_compat._readers.pickle.inert import Made, OrderedMapping, Tensor
from pytest_ckpt_compat._readers.shapes import contiguous
from pytest_ckpt_compat._readers.state_dict.containers import (
    choose,
    mapping_of,
    may_be_empty,
)
from pytest_ckpt_compat._readers.state_dict.contents import Converter
from pytest_ckpt_compat._readers.state_dict.modules import is_module, module_entries, module_versions
from pytest_ckpt_compat._readers.state_dict.nothing import no_tensors
from pytest_ckpt_compat._readers.state_dict.optimizers import optimizer_states
from pytest_ckpt_compat._readers.state_dict.plain_values import already_plain, plain_values
from pytest_ckpt_compat._readers.state_dict.quantized import is_packed


@dataclass(frozen=True, slots=True)
class Loaded:
    """The inert content of a file, before the search for its state_dict.

    Attributes:
        value: the value of its pickle.
        path: the path of the file, as the user gave it.
        format: the value for ``Source.format``.
        locatable: whether a later load can read its tensors: a local file in this machine's byte order.
        pickled: what the file asks of ``torch.load``; None if that does not open it.
    """

    value: Any
    path: str
    format: str
    locatable: bool = False
    pickled: Pickled | None = None


def assemble(loaded: Loaded, key: str | None) -> Structure:
    """Makes the structure of the state_dict at the dotted path ``key``; None searches for it."""
    found = choose(loaded.value, key)
    entries = module_entries(found.value) if is_module(found.value) else mapping_of(found.value) or {}
    structure = structure_of(
        entries,
        loaded,
        container=found.key,
        empty=may_be_empty(found.value),
        versions=module_versions(found.value) if is_module(found.value) else _versions(found.value),
        values=plain_values(loaded.value),
        optimizers=optimizer_states(loaded.value),
        pickled=_pickled(loaded.pickled, found.value),
        identical=_identical(entries) if not is_module(found.value) else (),  # its state_dict() detaches each
    )
    others = tuple(each.key for each in found.others)
    return replace(structure, source=replace(structure.source, others=others))


def _pickled(pickled: Pickled | None, value: Any) -> Pickled | None:
    """What a file asks of ``torch.load``, with the class of the whole module in it."""
    return replace(pickled, module=str(value.maker)) if pickled and is_module(value) else pickled


def structure_of(
    entries: Mapping[str, Any],
    loaded: Loaded,
    container: str = "",
    empty: bool = False,
    **fields: Any,
) -> Structure:
    """Makes a structure from key -> value.

    Args:
        entries: key -> value.
        loaded: the file that they are in.
        container: for ``Source.container``.
        empty: whether they need no tensor among them.
        **fields: further fields of the structure.
    """
    if len(entries) > limits.KEYS:
        raise over_limit("keys in its state_dict", limits.KEYS)
    tensors = {name: entry for name, entry in entries.items() if type(entry) is Tensor}
    if not tensors and not empty and not any(map(is_packed, entries.values())):
        raise no_tensors()
    converter = Converter(loaded.path, loaded.locatable)
    plain = {name: value for name, value in entries.items() if type(value) is not Tensor}
    aliases, views = _sharing(tensors)
    return Structure(
        {name: _spec(entry) for name, entry in entries.items()},
        aliases=aliases,
        views=views,
        source=Source(loaded.path, loaded.format, container),
        locations={
            name: location
            for name, tensor in tensors.items()
            if tensor.plain and (location := converter.location(tensor))
        },
        strides={
            name: tensor.stride
            for name, tensor in tensors.items()
            if tensor.plain and tensor.stride != contiguous(tensor.size)
        },
        contents=converter.contents(tensors),
        objects=converter.objects(plain) | already_plain(plain, {}),
        **fields,
    )


def _spec(entry: Any) -> TensorSpec:
    return _tensor_spec(entry.dtype, entry.size) if type(entry) is Tensor else TensorSpec(OBJECT)


@functools.lru_cache(maxsize=1024)  # the layers of a model have the same few
def _tensor_spec(dtype: str, lengths: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(dtype, lengths)


_Groups = tuple[tuple[str, ...], ...]


def _sharing(tensors: Mapping[str, Tensor]) -> tuple[_Groups, _Groups]:
    """Groups the keys that share one tensor, and those whose tensors share a storage without being one."""
    storages: dict[str, object] = {}
    for name, tensor in tensors.items():
        storage = tensor.storage
        storages[name] = id(tensor) if storage is None else (storage.record, storage.start)
    shared = alias_groups(storages)
    names = {name for group in shared for name in group}
    aliases = alias_groups({name: _identity(tensor) for name, tensor in tensors.items() if name in names})
    tied = {group[0]: group for group in aliases}
    return aliases, tuple(group for group in shared if tied.get(group[0]) != group)


def _identity(tensor: Tensor) -> object:
    """Returns a value that is equal for aliases: the same view of a storage, or the same object."""
    if tensor.storage is None:
        return id(tensor)
    storage = tensor.storage
    return storage.record, storage.start, tensor.dtype, tensor.offset, tensor.size, tensor.stride


def _identical(entries: Mapping[str, Any]) -> _Groups:
    """Groups the keys whose tensor is one object in the file."""
    return alias_groups({name: id(entry) for name, entry in entries.items() if type(entry) is Tensor})


def _versions(state_dict: Any) -> Mapping[str, int] | None:
    """Returns the versions other than 1 in ``state_dict()._metadata``; None without ``_metadata``."""
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
