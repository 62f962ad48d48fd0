"""The bytes of tensors, a piece at a time, and the memory of files that is no longer needed."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from typing import Any

#: Bytes that are written at once.
PIECE = 16 << 20
_DONT_NEED = 4


def pieces(storage: Any) -> Iterator[memoryview]:
    """The bytes of a storage on the CPU, without a copy."""
    address, length = storage.data_ptr(), storage.nbytes()
    for start in range(0, length, PIECE):
        size = min(PIECE, length - start)
        yield memoryview((ctypes.c_char * size).from_address(address + start)).cast("B")


def contiguous(tensor: Any) -> Any:
    """The tensor, alone in its storage and in order: itself if it already is."""
    tensor = tensor.detach()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole and tensor.is_contiguous() else tensor.contiguous().clone()


class Releasing:
    """Gives back the memory of files that are mapped privately, once what is in it was written.

    Pages that are given back are read again if they are needed again.

    Args:
        files: tensors whose storages are mapped files, and were not written to.
    """

    def __init__(self, files: list[Any]) -> None:
        self._ranges = sorted(
            {(each.data_ptr(), each.nbytes()) for each in map(_storage, files) if each.nbytes()}
        )
        self._advise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None

    def release(self, storage: Any) -> None:
        """Gives back the pages that lie wholly inside a storage, if that is in a mapped file."""
        begin, length = storage.data_ptr(), storage.nbytes()
        if self._advise is None or not length or (begin, length) not in self._known:
            return
        page = mmap.PAGESIZE
        start, end = -(-begin // page) * page, (begin + length) // page * page
        if end > start:
            self._advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)

    @property
    def _known(self) -> set[tuple[int, int]]:
        return set(self._ranges)


def _storage(tensor: Any) -> Any:
    return tensor.untyped_storage()
