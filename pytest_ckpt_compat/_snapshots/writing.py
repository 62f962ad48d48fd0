"""The one way in which files are written: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pytest_ckpt_compat._core.errors import SnapshotError


def write(path: Path, text: str) -> None:
    """Writes UTF-8 text with Unix line ends in one step.

    Raises:
        SnapshotError: the folder cannot be written to; what was there is as it was.
    """
    # Beside the target, so that replacing it is one step; a killed run leaves only this name behind.
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
