"""Reads the project's own text files, up to a limit: each is refused at once by its size."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

#: Bytes of a snapshot. One of 250,000 tensors, the most that a checkpoint may have, takes about 25 MB.
SNAPSHOT_BYTES = 64 << 20
#: Bytes of a report as JSON; one with a verdict on 100,000 keys takes about 100 MB.
REPORT_BYTES = 1 << 30
#: Bytes of a file of settings, or of accepted breaks.
SETTINGS_BYTES = 16 << 20


def read_text(path: Path, most: int) -> str:
    """The text of a regular file, UTF-8, with the line ends of Unix.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than ``most`` bytes, is no regular file, or is not UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, most)), encoding="utf-8").read()


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than ``most`` bytes, or is no regular file.
    """
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):  # to open a pipe could take for ever
        raise ValueError("it is no regular file")
    require_size(facts.st_size, most)
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    require_size(len(data), most)  # it may have grown, or be of a system's own, without a size
    return data


def require_size(size: int, most: int) -> None:
    """Raises ValueError for more bytes than ``most``."""
    if size > most:
        raise ValueError(f"it has more than {most:,} bytes, the limit for reading it")


def mentions(path: Path, name: bytes, most: int = SETTINGS_BYTES) -> bool:
    """Whether a file that can be read has a name in it; one above the limit counts, so that it is refused."""
    try:
        return name in read_bytes(path, most)
    except OSError:
        return False
    except ValueError:
        return path.is_file()
