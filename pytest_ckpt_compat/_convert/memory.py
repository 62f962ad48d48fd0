"""The bytes of tensors, a piece at a time, and the memory of files that is no longer needed."""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

#: Bytes that are written, or copied, at once.
PIECE = 16 << 20
#: What tells Linux that pages will not be needed soon: ``MADV_DONTNEED``.
_DONT_NEED = 4


def pieces(storage: Any) -> Iterator[memoryview]:
    """The bytes of a storage on the CPU, without a copy."""
    address, length = storage.data_ptr(), storage.nbytes()
    for start in range(0, length, PIECE):
        size = min(PIECE, length - start)
        yield memoryview((ctypes.c_char * size).from_address(address + start)).cast("B")


class Mapped:
    """The memory of files that are mapped privately; what was read is given back.

    Pages that are given back are read again if they are needed again.

    Args:
        tensors: tensors whose storages are mapped files that nothing has written to.
    """

    def __init__(self, tensors: Iterable[Any] = ()) -> None:
        found = {(each.data_ptr(), each.nbytes()) for each in (t.untyped_storage() for t in tensors)}
        self._spans = sorted((start, start + size) for start, size in found if size)
        self._starts = [start for start, _ in self._spans]
        self._advise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None

    def release(self, storage: Any) -> None:
        """Gives back the pages of a storage, if it is a mapped file's."""
        self._give_back(storage.data_ptr(), storage.data_ptr() + storage.nbytes())

    def released_copy(self, tensor: Any, into: Any) -> None:
        """Copies a tensor, and gives back the pages that it was read from as it goes along."""
        if not tensor.numel():
            return
        steps = tensor.stride()
        dim = max(range(tensor.dim()), key=lambda each: steps[each]) if tensor.dim() else None
        if dim is None:
            into.copy_(tensor)
            return
        row = max(1, tensor.numel() // tensor.shape[dim] * tensor.element_size())
        rows = max(1, PIECE // row)
        for start in range(0, tensor.shape[dim], rows):
            number = min(rows, tensor.shape[dim] - start)
            part = tensor.narrow(dim, start, number)
            into.narrow(dim, start, number).copy_(part)
            first = part.data_ptr()
            length = sum((n - 1) * step for n, step in zip(part.shape, part.stride(), strict=True)) + 1
            self._give_back(first, first + length * part.element_size())

    def _give_back(self, begin: int, stop: int) -> None:
        """Gives back the whole pages between two addresses, if they are in a mapped file."""
        place = bisect_right(self._starts, begin) - 1
        if self._advise is None or place < 0 or stop > self._spans[place][1]:
            return
        page = mmap.PAGESIZE
        start, end = -(-begin // page) * page, stop // page * page
        if end > start:
            self._advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)


def contiguous(tensor: Any, mapped: Mapped) -> Any:
    """The tensor, alone in its storage and in order: itself if it already is, else a copy."""
    import torch

    tensor = tensor.detach()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    if whole and tensor.is_contiguous():
        return tensor
    made = torch.empty(tensor.shape, dtype=tensor.dtype)
    mapped.released_copy(tensor, made)
    return made


def joined(tensors: list[Any], dim: int, mapped: Mapped) -> Any:
    """``torch.cat``, which gives back the pages that it has read as it goes along."""
    import torch

    shape = list(tensors[0].shape)
    shape[dim] = sum(each.shape[dim] for each in tensors)
    made = torch.empty(shape, dtype=tensors[0].dtype)
    start = 0
    for each in tensors:
        mapped.released_copy(each, made.narrow(dim, start, each.shape[dim]))
        start += each.shape[dim]
    return made
