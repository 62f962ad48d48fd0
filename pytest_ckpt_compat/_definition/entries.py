"""What a built module saves and loads: the entries of its ``state_dict()``, and their structure."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.structure import (
    OBJECT,
    UNINITIALIZED,
    Source,
    Structure,
    TensorSpec,
    alias_groups,
)
from pytest_ckpt_compat._definition.counterparts import is_lazy
from pytest_ckpt_compat._definition.module_classes import described
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.surroundings import untouched_process
from pytest_ckpt_compat._definition.walk import has_own, tensors_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pytest_ckpt_compat._definition.find import Definition


#: The methods that a save calls.
_SAVING = frozenset({"state_dict", "_save_to_state_dict", "get_extra_state"})


def structure_of(module: nn.Module, definition: Definition) -> Structure:
    """Returns the structure of a built module, from its own ``state_dict()``.

    Raises:
        BuildError: ``state_dict()`` raises.
    """
    return _structure(module, entries_of(module, definition), definition)


def _structure(module: nn.Module, entries: Mapping[str, Any], definition: Definition) -> Structure:
    tensors = {key: spec_of(value) for key, value in entries.items()}
    metadata = getattr(entries, "_metadata", None)
    versions = None
    if metadata is not None:
        found = {name: entry.get("version") for name, entry in metadata.items()}
        versions = {name: version for name, version in found.items() if version not in (None, 1)}
    modules = described(module)
    return Structure(
        tensors=MappingProxyType(tensors),
        aliases=_aliases(entries, tensors),
        versions=versions,
        modules=MappingProxyType(modules.classes),
        settings=MappingProxyType(modules.settings),
        lines=MappingProxyType(modules.lines),
        source=Source(path=definition.name or definition.label, format="definition"),
    )


def _aliases(entries: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> tuple[tuple[str, ...], ...]:
    """The groups of keys of one tensor, which nearly none of them are."""
    found = {
        key: _storage_or_itself(value)
        for key, value in entries.items()
        if specs[key].dtype not in (OBJECT, UNINITIALIZED)
    }
    if len(set(found.values())) == len(found):
        return ()
    storages: dict[object, list[str]] = {}
    for key, storage in found.items():
        if specs[key].numel:
            storages.setdefault(storage, []).append(key)
    shared = {key for keys in storages.values() if len(keys) > 1 for key in keys}
    return alias_groups({key: identity(entries[key]) for key in entries if key in shared}) if shared else ()


def entries_of(module: nn.Module, definition: Definition) -> Mapping[str, Any]:
    """Returns ``module.state_dict()`` with the module's own tensors instead of detached ones.

    An override that takes no ``keep_vars`` gives detached tensors, which share the storages of the
    module's own.

    Raises:
        BuildError: ``state_dict()`` raises, or gives something other than names and values.
    """
    try:
        parameters = inspect.signature(module.state_dict).parameters.values()
        keeps = any(p.name == "keep_vars" or p.kind is p.VAR_KEYWORD for p in parameters)
        with untouched_process():
            found = module.state_dict(keep_vars=True) if keeps else module.state_dict()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BuildError(
            definition.label, f"state_dict() raised {brief(error)}", "make it work on a newly built model"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        problem = f"state_dict() gave {type(found).__name__}, not a dictionary of names and tensors"
        raise BuildError(definition.label, problem, "return what a checkpoint of the model is to keep")
    return found


def loadable(module: nn.Module, definition: Definition) -> tuple[Structure, Mapping[str, Any], str]:
    """The structure of what a load may write to; then as ``loadable_entries``."""
    entries, problem = loadable_entries(module, definition)
    return _structure(module, entries, definition), entries, problem


def loadable_entries(module: nn.Module, definition: Definition) -> tuple[Mapping[str, Any], str]:
    """Returns what a load may write to, even if ``state_dict()`` raises: torch loads into such a module, too.

    Returns: the entries, and why they are not those of ``state_dict()``, or "".

    Raises:
        BuildError: modules are nested too deeply for torch itself.
    """
    try:
        return entries_of(module, definition), ""
    except BuildError as error:
        try:
            return registered(module), f"{error.problem}: no checkpoint of it can be saved"
        except RecursionError:
            raise error from None


def saves_with_hooks(parts: Iterable[nn.Module]) -> bool:
    """Whether code runs before ``state_dict()`` of a module of these parts, which may change it."""
    return any(part.__dict__.get("_state_dict_pre_hooks") for part in parts)


def saves_alone(parts: Sequence[nn.Module]) -> bool:
    """Whether only torch's code runs in ``state_dict()`` of these parts, which have no hook before it."""
    methods = (getattr(kind, name) for kind in {type(part) for part in parts} for name in _SAVING)
    torchs = all(getattr(each, "__module__", "").partition(".")[0] == "torch" for each in methods)
    return torchs and not has_own(parts, ("_state_dict_hooks",), _SAVING)


def registered(module: nn.Module) -> Mapping[str, Any]:
    """The parameters and persistent buffers, as torch's own ``state_dict()`` names and orders them."""
    entries: Any = OrderedDict()
    entries._metadata = OrderedDict()
    for name, part in module.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        entries._metadata[name] = {"version": part._version}
        own = {**part._parameters, **part._buffers}
        saved = {key: own[key] for key in own if key not in part._non_persistent_buffers_set}
        entries.update({prefix + key: value for key, value in saved.items() if value is not None})
    return entries  # type: ignore[no-any-return]


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Returns the bytes that the parameters and buffers of a module take when they are real."""
    return sum(each.numel() * each.element_size() for each in tensors if not is_lazy(each))


def spec_of(value: object) -> TensorSpec:
    """Returns the spec of a state_dict entry: an object unless it is a tensor."""
    import torch

    if not isinstance(value, torch.Tensor):
        return TensorSpec(OBJECT)
    ordinary = type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout is torch.strided
    if ordinary and not value.is_quantized:  # as nearly all are
        return _dense(value.dtype, value.shape)
    if is_lazy(value):
        return TensorSpec(UNINITIALIZED)
    dtype = _dtype_name(value.dtype)
    if value.layout is not torch.strided:
        dtype = f"{str(value.layout).removeprefix('torch.')}_{dtype}"
    elif value.is_quantized and value.qscheme() is not torch.per_tensor_affine:
        dtype = f"{str(value.qscheme()).removeprefix('torch.')}_{dtype}"
    return TensorSpec(f"{_wrapper_class(value)}{dtype}", tuple(value.shape))


@functools.lru_cache(maxsize=1024)  # the layers of a model have the same few
def _dense(dtype: torch.dtype, shape: torch.Size) -> TensorSpec:
    return TensorSpec(_dtype_name(dtype), tuple(shape))


@functools.cache
def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _wrapper_class(tensor: torch.Tensor) -> str:
    """The class of a tensor that wraps others, with a dot, as readers name it; "" for ordinary tensors."""
    import torch

    kind = type(tensor)
    if kind.__torch_dispatch__ is torch.Tensor.__torch_dispatch__ or not _wraps(tensor):
        return ""
    return f"{kind.__module__}.{kind.__qualname__}."


def _wraps(tensor: torch.Tensor) -> bool:
    """Whether a tensor has no storage of its own, for which torch saves its attributes instead."""
    if tensor.is_meta:
        return hasattr(type(tensor), "__tensor_flatten__")
    try:
        return tensor.data_ptr() == 0 and tensor.numel() > 0
    except (NotImplementedError, RuntimeError):
        return True


def storage_identity(tensor: torch.Tensor) -> int:
    """Returns a number that two live tensors share if and only if they share a storage, even on meta."""
    return int(tensor.untyped_storage()._cdata)


def _storage_or_itself(tensor: torch.Tensor) -> int:
    try:
        return storage_identity(tensor)
    except (NotImplementedError, RuntimeError):  # as in ``identity``
        return id(tensor)


def identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """Returns what two entries share if and only if they are one tensor."""
    try:
        return storage_identity(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
    except (NotImplementedError, RuntimeError):  # sparse and other tensors that have no single storage
        return (id(tensor),)


def tensors_in(value: Any) -> Iterator[Any]:
    """Every tensor in nested collections and modules, each visited once."""
    import torch

    pending, seen = [value], set()
    while pending:
        each = pending.pop()
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, torch.nn.Module):
            yield from tensors_of(each)
        elif isinstance(each, (Mapping, list, tuple)) and id(each) not in seen:
            seen.add(id(each))
            pending += each.values() if isinstance(each, Mapping) else each
