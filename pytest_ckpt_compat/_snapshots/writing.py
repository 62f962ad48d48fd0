"""Writes a file whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from pytest_ckpt_compat._core.errors import SnapshotError


def write(path: Path, text: str) -> None:
    """Writes text as UTF-8 in one step; its line ends stay as they are.

    The text goes to a new file of a name of its own, opened exclusively, which then replaces the target:
    two writers never share a file, and a link that lies in the way is replaced, not followed.

    Raises:
        SnapshotError: the folder cannot be written to; what was there stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that one system call replaces the target.
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=".ckpt-", suffix=".tmp", delete=False
        ) as stream:
            temporary = stream.name
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise SnapshotError(str(path), f"cannot be written ({error.strerror})", "check the folder") from error


def _mode(path: Path) -> int:
    """The permissions of the file that is replaced, or those that a new file gets."""
    with contextlib.suppress(OSError):
        return os.lstat(path).st_mode & 0o777 if not path.is_symlink() else _new_mode()
    return _new_mode()


def _new_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
