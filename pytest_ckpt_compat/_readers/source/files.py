"""Local files: opened without blocking on a pipe or device, read in parts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from pytest_ckpt_compat._readers.limits import RefusalError, UnreachableRefusalError, damaged

_NO_WAITING = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
)
_CHECK_PATH = "check the path"
#: How Git LFS begins the text that it puts in the place of a file, and how long the text may be.
_POINTER, _LONGEST_POINTER = b"version https://git-lfs", 1024


@dataclass(frozen=True, slots=True)
class Blob:
    """An open file of known size, of which any part can be read.

    Attributes:
        path: the path as the user gave it.
        size: bytes in the file.
        stream: the open file.
        start: offset of the file in the stream, if it lies inside another file.
        locatable: whether it is local, and its tensors can be loaded later.
    """

    path: str
    size: int
    stream: BinaryIO
    start: int = 0
    locatable: bool = True

    def read_at(self, offset: int, size: int) -> bytes:
        """Reads exactly ``size`` bytes at ``offset``. Refuses a file that is shorter."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise damaged(f"it ends at byte {self.size:,}, before the data it announces")
        self.stream.seek(self.start + offset)
        data = self.stream.read(size)
        if len(data) != size:
            raise RefusalError("it changed while it was read", "run again once nothing writes to it")
        return data

    def head(self, size: int) -> bytes:
        """Reads the first ``size`` bytes, or fewer if the file is shorter."""
        return self.read_at(0, min(size, self.size))

    def part(self, offset: int, size: int, locatable: bool = False) -> Blob:
        """Returns the file that lies inside this one.

        Args:
            offset: where it begins.
            size: its bytes.
            locatable: whether its tensors can be loaded later, if those of this file can.
        """
        self.read_at(offset + size, 0)
        return Blob(self.path, size, self.stream, self.start + offset, locatable and self.locatable)


@contextmanager
def open_blob(path: str) -> Iterator[Blob]:
    """Opens a regular file. Refuses a directory, a pipe or a device before opening it."""
    try:
        _require_regular(os.stat(path))
        descriptor = os.open(path, _NO_WAITING)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            found = os.fstat(descriptor)
            _require_regular(found)
            blob = Blob(path, found.st_size, stream)
            _refuse_pointer(blob)
            yield blob
    except FileNotFoundError:
        raise RefusalError("there is no such file", _CHECK_PATH) from None
    except OSError as error:
        raise RefusalError(
            f"it cannot be opened: {error.strerror or error}", "check the path and its permissions"
        ) from None
    except ValueError:
        raise RefusalError("it is not a valid file path", _CHECK_PATH) from None


def is_pointer(path: str) -> bool:
    """Whether Git LFS has put the text of a pointer in the place of a file."""
    try:
        if not os.path.isfile(path) or os.path.getsize(path) >= _LONGEST_POINTER:
            return False
        with open(path, "rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _refuse_pointer(blob: Blob) -> None:
    if blob.size < _LONGEST_POINTER and blob.head(len(_POINTER)) == _POINTER:
        raise UnreachableRefusalError("it is a Git LFS pointer, not the file itself", "run: git lfs pull")


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise RefusalError(
            "it is a device or a pipe, not a file or a directory",
            "give the path of a checkpoint file",
        )
