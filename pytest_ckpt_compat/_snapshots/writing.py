"""Writes a file whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pytest_ckpt_compat._core.errors import SnapshotError


def write(path: Path, text: str) -> None:
    """Writes text as UTF-8 in one step; its line ends stay as they are.

    Raises:
        SnapshotError: the folder cannot be written to; what was there stays.
    """
    # In the same folder, so that one system call replaces the target; a killed run leaves this file alone.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise SnapshotError(str(path), f"cannot be written ({error.strerror})", "check the folder") from error
