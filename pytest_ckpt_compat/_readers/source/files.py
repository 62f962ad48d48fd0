"""Opening a local file without waiting for anything, and reading stretches of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from pytest_ckpt_compat._readers.limits import RefusalError, damaged

_NO_WAITING = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
)
_CHECK_PATH = "check the path"


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of known size from which any stretch can be read.

    Attributes:
        path: the path as it was given.
        size: bytes in the file.
        stream: the open file.
        start: where in the stream the file begins, if it lies inside another.
        locatable: whether it is a whole file on this machine, whose bytes can be loaded later.
    """

    path: str
    size: int
    stream: BinaryIO
    start: int = 0
    locatable: bool = True

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``. Refuses a file that is shorter than that."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise damaged(f"it ends at byte {self.size:,}, before the data it announces")
        self.stream.seek(self.start + offset)
        data = self.stream.read(size)
        if len(data) != size:
            raise RefusalError("it changed while it was read", "run again when nothing writes to it")
        return data

    def head(self, size: int) -> bytes:
        """The first ``size`` bytes, or fewer if the file is shorter."""
        return self.read_at(0, min(size, self.size))

    def part(self, offset: int, size: int) -> Blob:
        """A file that lies inside this one."""
        self.read_at(offset + size, 0)
        return Blob(self.path, size, self.stream, self.start + offset, locatable=False)


@contextmanager
def open_blob(path: str) -> Iterator[Blob]:
    """Opens a regular file; a directory, a pipe or a device is refused before it is opened."""
    try:
        _require_regular(os.stat(path))
        descriptor = os.open(path, _NO_WAITING)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            found = os.fstat(descriptor)
            _require_regular(found)
            yield Blob(path, found.st_size, stream)
    except FileNotFoundError:
        raise RefusalError("there is no such file", _CHECK_PATH) from None
    except OSError as error:
        raise RefusalError(
            f"it cannot be opened: {error.strerror or error}", "check the path and its permissions"
        ) from None
    except ValueError:
        raise RefusalError("it is no path of a file", _CHECK_PATH) from None


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise RefusalError(
            "it is neither a file nor a directory but a device or a pipe",
            "give the path of a checkpoint file",
        )
