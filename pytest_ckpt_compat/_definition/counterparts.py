"""Tensors that take the place of others: on the meta device, or copies of them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from pytest_ckpt_compat._definition.doubts import Doubts


class Counterparts:
    """The counterparts of real tensors, of the same strides. Tied weights and views stay tied.

    Args:
        storage: makes the counterpart of a storage.
        doubts: receives what a counterpart may answer differently.
    """

    def __init__(self, storage: Callable[[Any], Any], doubts: Doubts) -> None:
        self._storage = storage
        self._doubts = doubts
        self._tensors: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._storages: dict[int, tuple[Any, torch.UntypedStorage]] = {}

    def __len__(self) -> int:
        """The number of tensors that have a counterpart."""
        return len(self._tensors)

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the counterpart of ``tensor``, always the same one; ``tensor`` if it has none."""
        # A plain copy of what inference mode made would not be an inference tensor.
        if tensor.is_meta and (is_lazy(tensor) or not tensor.is_inference()):
            return tensor
        known = self._tensors.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        if not is_plain(tensor):
            self._doubts.add(f"{type(tensor).__name__} is a tensor subclass")
        import torch

        try:
            with torch.inference_mode(tensor.is_inference()):
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
        from torch.multiprocessing.reductions import StorageWeakRef as Reference

        if tensor.is_quantized:
            raise ValueError("a storage does not tell how it is quantized")
        storage = tensor.untyped_storage()
        known = self._storages.get(storage._cdata)
        if known is None or known[0].expired():
            made = self._storage(storage)
            known = self._storages[storage._cdata] = (Reference(storage), made)  # type: ignore[no-untyped-call]
        empty = torch.empty(0, dtype=tensor.dtype, device=known[1].device)
        return empty.set_(known[1], tensor.storage_offset(), tensor.shape, tensor.stride())


def on_meta(storage: torch.UntypedStorage) -> Any:
    """Makes a storage of the same size on the meta device."""
    import torch

    return torch.empty(storage.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` is an uninitialized parameter or buffer: the first input decides its shape."""
    from torch.nn.parameter import is_lazy as torch_is_lazy

    return bool(torch_is_lazy(tensor))


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
