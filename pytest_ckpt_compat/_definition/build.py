"""Building a definition without its weights, and reading the structure of what was built."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.garbage import collector_paused
from pytest_ckpt_compat._core.structure import OBJECT, Source, Structure, TensorSpec, alias_groups
from pytest_ckpt_compat._definition.find import Definition, brief, is_module
from pytest_ckpt_compat._definition.intercept import intercept

if TYPE_CHECKING:
    import torch
    from torch import nn


def build(definition: Definition, checkpoint: Mapping[str, Any] | None = None) -> nn.Module:
    """A fresh module whose parameters and buffers are on the meta device, so that they take no memory.

    Each parameter moves to meta as it is registered, the way accelerate's ``init_empty_weights``
    does, so that a constructor may call ``.item()`` on tensors of its own. A constructor that cannot
    live with that is run again with real parameters. Global state (random numbers, default dtype
    and device, grad mode, ``sys.path``) is left as it was.

    Args:
        definition: what to build.
        checkpoint: the checkpoint's non-tensor values, for a factory that takes them.

    Raises:
        BuildError: the constructor raised.
    """
    if is_module(definition.target):
        return _meta_copy(definition.target)
    moved = _Moved()
    with untouched_globals():
        try:
            with _parameters_on_meta(moved):
                module = _construct(definition, checkpoint)
        except (Exception, SystemExit):
            # A constructor may fail on meta in any way it likes; run for real, it tells what is true.
            module = _construct_or_explain(definition, checkpoint)
        _require_module(module, definition)
        _move_all(module, moved)
    return module  # type: ignore[no-any-return]


def build_real(definition: Definition, checkpoint: Mapping[str, Any] | None = None) -> nn.Module:
    """A fresh module with real parameters on the CPU, as its constructor initialises them.

    Raises:
        BuildError: the constructor raised.
    """
    if is_module(definition.target):
        return copy.deepcopy(definition.target)  # type: ignore[no-any-return]
    with untouched_globals():
        module = _construct_or_explain(definition, checkpoint)
    _require_module(module, definition)
    return module  # type: ignore[no-any-return]


def structure_of(module: nn.Module, definition: Definition) -> Structure:
    """The structure of a built module, as its own ``state_dict()`` gives it.

    Raises:
        BuildError: ``state_dict()`` raised.
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
        source=Source(path=definition.name or definition.label, format="definition"),
    )


def entries_of(module: nn.Module, definition: Definition) -> Mapping[str, Any]:
    """``module.state_dict()`` with the module's own tensors in it, not detached copies.

    Raises:
        BuildError: ``state_dict()`` raised.
    """
    try:
        return module.state_dict(keep_vars=True)
    except Exception as error:
        raise BuildError(
            definition.label, f"state_dict() raised {brief(error)}", "make it work on a newly built model"
        ) from error


def spec_of(value: object) -> TensorSpec:
    """The spec of a state_dict entry; whatever is not a tensor of known shape is an object."""
    import torch

    if not isinstance(value, torch.Tensor) or is_lazy(value):
        return TensorSpec(OBJECT)
    dtype = str(value.dtype).removeprefix("torch.")
    if value.layout is not torch.strided:
        dtype = f"{str(value.layout).removeprefix('torch.')}_{dtype}"
    return TensorSpec(dtype, tuple(value.shape))


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` is an uninitialized parameter or buffer, whose shape the first input decides."""
    from torch.nn.parameter import is_lazy as torch_is_lazy

    return bool(torch_is_lazy(tensor))


def storage_identity(tensor: torch.Tensor) -> int:
    """A number that two living tensors share exactly when they share their storage, also on meta."""
    return int(tensor.untyped_storage()._cdata)


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    try:
        return storage_identity(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without one storage
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


@contextlib.contextmanager
def untouched_globals() -> Iterator[None]:
    """Puts random numbers, default dtype and device, grad mode and ``sys.path`` back afterwards."""
    import torch

    dtype, device, path = torch.get_default_dtype(), torch.empty(0).device, list(sys.path)
    python_state = random.getstate()
    numpy_random = sys.modules.get("numpy.random")
    numpy_state = numpy_random.get_state() if numpy_random else None
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            if torch.empty(0).device != device:
                torch.set_default_device(device)
            sys.path[:] = path
            random.setstate(python_state)
            if numpy_random:
                numpy_random.set_state(numpy_state)


@contextlib.contextmanager
def search_path(*folders: str) -> Iterator[None]:
    """Puts folders at the head of ``sys.path`` for a while."""
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before


class _Moved:
    """Which meta tensor stands for which real one, so that tied weights and views stay tied."""

    def __init__(self) -> None:
        self._tensors: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._storages: dict[int, tuple[Any, torch.UntypedStorage]] = {}

    def to_meta(self, tensor: torch.Tensor) -> torch.Tensor:
        """The meta twin of ``tensor``; the same one each time, and itself if it cannot move."""
        if tensor.is_meta:
            return tensor
        known = self._tensors.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        try:
            twin = self._twin(tensor)
        except (NotImplementedError, RuntimeError):  # quantized and sparse tensors have no meta
            return tensor
        self._tensors[id(tensor)] = (weakref.ref(tensor), twin)
        return twin

    def _twin(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        kind: Any = type(tensor)
        twin: torch.Tensor
        if is_lazy(tensor):
            twin = kind(requires_grad=tensor.requires_grad, device="meta", dtype=tensor.dtype)
        elif isinstance(tensor, torch.nn.Parameter):
            twin = kind(self._data(tensor), requires_grad=tensor.requires_grad)
        else:
            twin = self._data(tensor)
        twin.__dict__.update(tensor.__dict__)
        return twin

    def _data(self, tensor: torch.Tensor) -> torch.Tensor:
        """On meta, the same view of the twin of the tensor's storage."""
        import torch
        from torch.multiprocessing.reductions import StorageWeakRef as Reference

        storage = tensor.untyped_storage()
        known = self._storages.get(storage._cdata)
        if known is None or known[0].expired():
            twin: Any = torch.empty(storage.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()
            known = self._storages[storage._cdata] = (Reference(storage), twin)  # type: ignore[no-untyped-call]
        empty = torch.empty(0, dtype=tensor.dtype, device="meta")
        return empty.set_(known[1], tensor.storage_offset(), tensor.shape, tensor.stride())


@contextlib.contextmanager
def _parameters_on_meta(moved: _Moved) -> Iterator[None]:
    from torch import nn

    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, param)
        if param is not None:
            module._parameters[name] = moved.to_meta(param)  # type: ignore[assignment]

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign,assignment]
    try:
        with intercept(_skip_fills), collector_paused():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _skip_fills(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Runs an operator, unless all it could do is to fill a meta tensor with numbers.

    On meta that does nothing, yet torch runs much of it (``normal_``, ``clamp_``) through Python code
    that imports ``torch._dynamo`` first: a second of time and 80 MB.
    """
    import torch

    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
    dense = len(tensors) == 1 and tensors[0].is_meta and tensors[0].layout is torch.strided
    if dense and _only_fills(operator):
        return tensors[0]
    return operator(*args, **kwargs)


def _only_fills(operator: Any) -> bool:
    """Whether an operator is one of torch's own that write into a tensor and leave its shape alone."""
    import torch

    name: str = operator._schema.name
    public = name.startswith("aten::") and not name.startswith("aten::_")
    return public and name.endswith("_") and torch.Tag.inplace_view not in operator.tags


def _move_all(module: nn.Module, moved: _Moved) -> None:
    """Moves what was registered behind ``register_parameter``'s back, and the buffers."""
    for part in module.modules():
        for registered in (part._parameters, part._buffers):
            for name, tensor in registered.items():
                if tensor is not None:
                    registered[name] = moved.to_meta(tensor)  # type: ignore[assignment]


def _meta_copy(module: nn.Module) -> nn.Module:
    """A copy of a user's instance that shares nothing with it and holds no weights."""
    moved = _Moved()
    tensors = [*module.parameters(), *module.buffers()]
    # deepcopy asks its memo first: each tensor is "already copied", as its meta twin.
    twins: dict[int, Any] = {id(tensor): moved.to_meta(tensor) for tensor in tensors}
    return copy.deepcopy(module, twins)
