"""Builds a definition without its weights, and reads the structure of the module."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._core.structure import (
    OBJECT,
    UNINITIALIZED,
    Source,
    Structure,
    TensorSpec,
    alias_groups,
)
from pytest_ckpt_compat._definition.doubts import Doubts, tensors_in
from pytest_ckpt_compat._definition.find import Definition, brief, is_module
from pytest_ckpt_compat._definition.instances import copied
from pytest_ckpt_compat._definition.intercept import intercept
from pytest_ckpt_compat._definition.module_classes import module_classes
from pytest_ckpt_compat._definition.surroundings import untouched_globals

if TYPE_CHECKING:
    import torch
    from torch import nn


def build(
    definition: Definition, checkpoint: Mapping[str, Any] | None = None, doubts: Doubts | None = None
) -> nn.Module:
    """Builds a module with parameters and buffers on the meta device, where they take no memory.

    Each parameter moves to meta when it is registered, as in accelerate's ``init_empty_weights``, so
    a constructor may still call ``.item()`` on its own tensors. If the constructor fails this way, it
    runs again with real parameters. Global state (random numbers, default dtype and device, grad
    mode, ``sys.path``) is restored afterwards.

    Args:
        definition: what to build.
        checkpoint: the checkpoint's non-tensor values, for a factory that takes them.
        doubts: receives the reasons why a real build may give another module.

    Raises:
        BuildError: the constructor raises, or returns something other than a module.
    """
    doubts = Doubts() if doubts is None else doubts
    meta = _MetaTensors(doubts)
    if is_module(definition.target):
        return copied(definition, {id(t): meta.to_meta(t) for t in _tensors_of(definition.target)})
    with untouched_globals():
        try:
            with _parameters_on_meta(meta, doubts):
                module = _construct(definition, checkpoint)
        except (Exception, SystemExit):
            # A failure on meta may have any cause. A real run shows whether the constructor works.
            doubts.clear()
            module = _construct_or_explain(definition, checkpoint)
        _require_module(module, definition)
        _move_all(module, meta)
    return module  # type: ignore[no-any-return]


def build_real(definition: Definition, checkpoint: Mapping[str, Any] | None = None) -> nn.Module:
    """Builds a module with real parameters on the CPU, as its constructor initialises them.

    Raises:
        BuildError: the constructor raises, or returns something other than a module.
    """
    if is_module(definition.target):
        return copied(definition, {})
    with untouched_globals():
        module = _construct_or_explain(definition, checkpoint)
    _require_module(module, definition)
    return module  # type: ignore[no-any-return]


def structure_of(module: nn.Module, definition: Definition) -> Structure:
    """Returns the structure of a built module, from its own ``state_dict()``.

    Raises:
        BuildError: ``state_dict()`` raises.
    """
    entries = entries_of(module, definition)
    tensors = {key: spec_of(value) for key, value in entries.items()}
    metadata = getattr(entries, "_metadata", None)
    versions = None if metadata is None else {name: entry.get("version") for name, entry in metadata.items()}
    identities = {key: _identity(value) for key, value in entries.items() if tensors[key].numel}
    return Structure(
        tensors=tensors,
        aliases=alias_groups(identities),
        versions=versions and {name: v for name, v in versions.items() if v not in (None, 1)},
        modules=module_classes(module),
        source=Source(path=definition.name or definition.label, format="definition"),
    )


def entries_of(module: nn.Module, definition: Definition) -> Mapping[str, Any]:
    """Returns ``module.state_dict()`` with the module's own tensors instead of detached ones.

    An override that takes no ``keep_vars`` gives detached tensors, which share the storages of the
    module's own.

    Raises:
        BuildError: ``state_dict()`` raises.
    """
    try:
        parameters = inspect.signature(module.state_dict).parameters.values()
        keeps = any(p.name == "keep_vars" or p.kind is p.VAR_KEYWORD for p in parameters)
        return module.state_dict(keep_vars=True) if keeps else module.state_dict()
    except Exception as error:
        raise BuildError(
            definition.label, f"state_dict() raised {brief(error)}", "make it work on a newly built model"
        ) from error


def spec_of(value: object) -> TensorSpec:
    """Returns the spec of a state_dict entry: an object unless it is a tensor."""
    import torch

    if not isinstance(value, torch.Tensor):
        return TensorSpec(OBJECT)
    if is_lazy(value):
        return TensorSpec(UNINITIALIZED)
    dtype = str(value.dtype).removeprefix("torch.")
    if value.layout is not torch.strided:
        dtype = f"{str(value.layout).removeprefix('torch.')}_{dtype}"
    elif value.is_quantized and value.qscheme() is not torch.per_tensor_affine:
        dtype = f"{str(value.qscheme()).removeprefix('torch.')}_{dtype}"
    return TensorSpec(f"{_wrapper_class(value)}{dtype}", tuple(value.shape))


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


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` is an uninitialized parameter or buffer: the first input decides its shape."""
    from torch.nn.parameter import is_lazy as torch_is_lazy

    return bool(torch_is_lazy(tensor))


def storage_identity(tensor: torch.Tensor) -> int:
    """Returns a number that two live tensors share if and only if they share a storage, even on meta."""
    return int(tensor.untyped_storage()._cdata)


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    try:
        return storage_identity(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
    except (NotImplementedError, RuntimeError):  # sparse and other tensors that have no single storage
        return (id(tensor),)


def _construct(definition: Definition, checkpoint: Mapping[str, Any] | None) -> Any:
    kwargs = dict(definition.kwargs)
    if definition.takes_checkpoint:
        kwargs["checkpoint"] = copy.deepcopy(dict(checkpoint or {}))
    return definition.target(**kwargs)


def _construct_or_explain(definition: Definition, checkpoint: Mapping[str, Any] | None) -> Any:
    try:
        return _construct(definition, checkpoint)
    except (Exception, SystemExit) as error:
        raise BuildError(
            definition.label, f"raised {brief(error)}", "make it build with the kwargs given"
        ) from error


def _require_module(module: object, definition: Definition) -> None:
    if not is_module(module):
        raise BuildError(
            definition.label,
            f"gave {type(module).__name__}, not a torch.nn.Module",
            "return the module that loads the checkpoint",
        )


class _MetaTensors:
    """The meta counterparts of real tensors. Tied weights and views stay tied."""

    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts
        self._tensors: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._storages: dict[int, tuple[Any, torch.UntypedStorage]] = {}

    def to_meta(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the meta counterpart of ``tensor``, always the same one; ``tensor`` if it has none."""
        if tensor.is_meta:
            return tensor
        known = self._tensors.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        if type(tensor) not in _plain_types():
            self._doubts.add(f"{type(tensor).__name__} is a tensor subclass")
        try:
            counterpart = self._counterpart(tensor)
        except Exception:  # quantized and sparse tensors have no meta; a subclass may want more arguments
            return tensor
        self._tensors[id(tensor)] = (weakref.ref(tensor), counterpart)
        return counterpart

    def _counterpart(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        kind: Any = type(tensor)
        counterpart: torch.Tensor
        if is_lazy(tensor):
            counterpart = kind(requires_grad=tensor.requires_grad, device="meta", dtype=tensor.dtype)
        elif isinstance(tensor, torch.nn.Parameter):
            counterpart = kind(self._data(tensor), requires_grad=tensor.requires_grad)
        else:
            counterpart = self._data(tensor)
        counterpart.__dict__.update(tensor.__dict__)
        return counterpart

    def _data(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the same view of the meta counterpart of the tensor's storage."""
        import torch
        from torch.multiprocessing.reductions import StorageWeakRef as Reference

        storage = tensor.untyped_storage()
        known = self._storages.get(storage._cdata)
        if known is None or known[0].expired():
            on_meta: Any = torch.empty(storage.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()
            known = self._storages[storage._cdata] = (Reference(storage), on_meta)  # type: ignore[no-untyped-call]
        empty = torch.empty(0, dtype=tensor.dtype, device="meta")
        return empty.set_(known[1], tensor.storage_offset(), tensor.shape, tensor.stride())


@contextlib.contextmanager
def _parameters_on_meta(meta: _MetaTensors, doubts: Doubts) -> Iterator[None]:
    import torch
    from torch import nn

    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, param)
        if param is not None:
            with torch._C.DisableTorchFunction():  # what this package asks is no question of the user's
                module._parameters[name] = meta.to_meta(param)  # type: ignore[assignment]

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign,assignment]
    try:
        with intercept(_Operators(doubts)), doubts.questions(), garbage_collection_paused():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


class _Operators:
    """Runs operators, except those that can only fill a meta tensor with numbers.

    Filling has no effect on meta. Yet torch runs many such operators (``normal_``, ``clamp_``) in
    Python code that imports ``torch._dynamo``, which takes a second and 80 MB.
    """

    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts

    def __call__(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        import torch

        tensors = tensors_in((*args, *kwargs.values()))
        dense = len(tensors) == 1 and tensors[0].is_meta and tensors[0].layout is torch.strided
        if dense and _only_fills(operator):
            self._doubts.random(operator, args, kwargs, tensors[0])
            return tensors[0]
        try:
            found = operator(*args, **kwargs)
        except Exception:
            self._doubts.raised(operator, args, kwargs)
            raise
        self._doubts.random(operator, args, kwargs, found)
        return found


@functools.cache
def _only_fills(operator: Any) -> bool:
    """Whether an operator is one of torch's own that write into a tensor without changing its shape."""
    import torch

    name: str = operator._schema.name
    public = name.startswith("aten::") and not name.startswith("aten::_")
    return public and name.endswith("_") and torch.Tag.inplace_view not in operator.tags


def _tensors_of(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


@functools.cache
def _plain_types() -> tuple[type, ...]:
    import torch
    from torch.nn import parameter

    return (
        torch.Tensor,
        parameter.Parameter,
        parameter.UninitializedParameter,
        parameter.UninitializedBuffer,
    )


def _move_all(module: nn.Module, meta: _MetaTensors) -> None:
    """Moves the buffers, and the parameters registered without ``register_parameter``."""
    for part in module.modules():
        for registered in (part._parameters, part._buffers):
            for name, tensor in registered.items():
                if tensor is not None:
                    registered[name] = meta.to_meta(tensor)  # type: ignore[assignment]
