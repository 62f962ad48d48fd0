"""Sequential reading of a header, a small window at a time."""

from __future__ import annotations

from pytest_ckpt_compat._readers.limits import damaged
from pytest_ckpt_compat._readers.source.files import Blob

_WINDOW = 512
_LARGE = 1 << 16


class Cursor:
    """A forward position in a file. Skipped bytes are not read.

    The window grows as long as nothing is skipped, so a long header takes few reads.
    """

    def __init__(self, blob: Blob, position: int = 0) -> None:
        self.position = position
        self._blob = blob
        self._window = b""
        self._begin = position
        self._size = _WINDOW

    def take(self, size: int) -> bytes:
        """Returns the next ``size`` bytes."""
        start = self.position - self._begin
        if start + size > len(self._window):
            self._fill(size)
            start = 0
        self.position += size
        return self._window[start : start + size]

    def skip(self, size: int) -> None:
        """Moves forward without reading. Refuses a file that ends before."""
        self.position += size
        if self.position > self._blob.size:
            raise damaged(f"it ends at byte {self._blob.size:,}, before the data it announces")
        if self.position > self._begin + len(self._window):
            self._size = _WINDOW

    def uint(self, size: int) -> int:
        """Reads a little-endian number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        """Reads a protobuf varint: seven bits a byte, at most 64 bits."""
        start = self.position - self._begin
        if start < len(self._window) and self._window[start] < 0x80:  # most take one byte
            self.position += 1
            return self._window[start]
        result = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result & 0xFFFF_FFFF_FFFF_FFFF
        raise damaged(f"it has an unterminated number at byte {self.position:,}")

    def _fill(self, size: int) -> None:
        room = self._blob.size - self.position
        self._window = self._blob.read_at(self.position, max(size, min(self._size, room)))
        self._begin = self.position
        self._size = min(2 * self._size, _LARGE)
