"""Tensors that take the place of others: on the meta device, or copies of them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from pytest_ckpt_compat._definition.doubts import Doubts

#: Arguments of ``torch.empty`` with which it makes a dense tensor of its own.
_ORDINARY = frozenset({"size", "dtype", "device", "requires_grad"})


class Counterparts:
    """The counterparts of real tensors, of the same strides. Tied weights and views stay tied.

    Args:
        storage: makes the counterpart of a storage.
        doubts: receives what a counterpart may answer differently.
        unseen: whether they are made out of sight of dispatch modes, which cost more than the work. Not where
            somebody watches which storages come and go.
    """

    def __init__(self, storage: Callable[[Any], Any], doubts: Doubts, unseen: bool = False) -> None:
        self._storage = storage
        self._doubts = doubts
        self._unseen = unseen
        self._tensors: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._empty = 0
        self._storages: dict[int, tuple[Any, torch.UntypedStorage]] = {}

    def __len__(self) -> int:
        """The number of tensors that have a counterpart, or were made as one."""
        return len(self._tensors) + self._empty

    def empty(self, *size: Any, **kwargs: Any) -> torch.Tensor:
        """Makes in place of ``torch.empty``, for code that names no device, a tensor on meta at once."""
        import torch

        if kwargs.get("device") is not None or not kwargs.keys() <= _ORDINARY:
            return torch.empty(*size, **kwargs)
        self._empty += 1
        with torch._C._DisableTorchDispatch():  # as in ``of``
            return torch.empty(*size, **{**kwargs, "device": "meta"})

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the counterpart of ``tensor``, always the same one; ``tensor`` if it has none."""
        # A plain copy of what inference mode made would not be an inference tensor.
        if tensor.is_meta and (is_lazy(tensor) or not tensor.is_inference()):
            return tensor
        known = self._tensors.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        plain = is_plain(tensor)
        if not plain:
            self._doubts.add(f"{type(tensor).__name__} is a tensor subclass")
        try:
            with _alike(tensor, self._unseen and plain):
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
            device = self._storage(torch.empty(0).untyped_storage()).device
            counterpart = kind(requires_grad=tensor.requires_grad, device=device, dtype=tensor.dtype)
        elif isinstance(tensor, torch.nn.Parameter):
            counterpart = kind(self._data(tensor), requires_grad=tensor.requires_grad)
        else:
            counterpart = self._data(tensor)
        counterpart.__dict__.update(tensor.__dict__)
        return counterpart

    def _data(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the same view of the counterpart of the tensor's storage."""
        import torch

        if tensor.is_quantized:
            raise ValueError("a storage does not tell how it is quantized")
        storage = tensor.untyped_storage()
        known = self._storages.get(storage._cdata)
        if known is None or known[0].expired():
            known = self._storages[storage._cdata] = (_reference()(storage), self._storage(storage))
        empty = torch.empty(0, dtype=tensor.dtype, device=known[1].device)
        return empty.set_(known[1], tensor.storage_offset(), tensor.shape, tensor.stride())


def _alike(tensor: torch.Tensor, unseen: bool) -> AbstractContextManager[Any]:
    """Makes an inference tensor of such a one alone."""
    import torch

    if not unseen or tensor.is_inference() != torch.is_inference_mode_enabled():
        return torch.inference_mode(tensor.is_inference())
    return torch._C._DisableTorchDispatch()


def on_meta(storage: torch.UntypedStorage) -> Any:
    """Makes a storage of the same size on the meta device."""
    import torch

    return torch.empty(storage.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` is an uninitialized parameter or buffer: the first input decides its shape."""
    return isinstance(tensor, _lazy_type())


@functools.cache
def _reference() -> Any:
    """The class of weak references to storages."""
    from torch.multiprocessing.reductions import StorageWeakRef

    return StorageWeakRef


@functools.cache
def _lazy_type() -> type:
    from torch.nn import parameter

    kind: type = vars(parameter)["UninitializedTensorMixin"]
    return kind


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` is of one of torch's own classes."""
    return type(tensor) in _plain_types()


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
