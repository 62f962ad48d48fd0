"""A position that moves forward through a file, reading little more than is asked for."""

from __future__ import annotations

from pytest_ckpt_compat._readers.limits import damaged
from pytest_ckpt_compat._readers.source.files import Blob

_WINDOW = 512
_LARGE = 1 << 16


class Cursor:
    """Reads numbers and texts one after the other; what is skipped is not read.

    Windows grow while nothing is skipped, so that a long header takes few reads.
    """

    def __init__(self, blob: Blob, position: int = 0) -> None:
        self.position = position
        self._blob = blob
        self._window = b""
        self._begin = position
        self._size = _WINDOW

    def take(self, size: int) -> bytes:
        """The next bytes."""
        start = self.position - self._begin
        if start + size > len(self._window):
            self._fill(size)
            start = 0
        self.position += size
        return self._window[start : start + size]

    def skip(self, size: int) -> None:
        """Moves on without reading. The file must go on that far."""
        self.position += size
        if self.position > self._blob.size:
            raise damaged(f"it ends at byte {self._blob.size:,}, before the data it announces")
        if self.position > self._begin + len(self._window):
            self._size = _WINDOW

    def uint(self, size: int) -> int:
        """A little-endian number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        """A number of protobuf: seven bits a byte, at most 64 in all."""
        start = self.position - self._begin
        if start < len(self._window) and self._window[start] < 0x80:  # most are of one byte
            self.position += 1
            return self._window[start]
        result = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result & 0xFFFF_FFFF_FFFF_FFFF
        raise damaged(f"it has a number without an end at byte {self.position:,}")

    def _fill(self, size: int) -> None:
        room = self._blob.size - self.position
        self._window = self._blob.read_at(self.position, max(size, min(self._size, room)))
        self._begin = self.position
        self._size = min(2 * self._size, _LARGE)
