"""Writes a file whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from pytest_ckpt_compat._core.errors import SnapshotError


def write(path: Path, text: str) -> None:
    """Writes text as UTF-8 in one step; its line ends stay as they are, and so do the file's permissions.

    The text goes to a new file of a name of its own, opened exclusively, which then replaces the target:
    two writers never share a file, and a link that lies in the way is replaced, not followed.

    Raises:
        SnapshotError: the folder cannot be written to; what was there stays.
    """
    # In the same folder, so that one system call replaces the target.
    temporary = path.with_name(f".ckpt-{os.urandom(8).hex()}.tmp")
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            made = True
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        _keep_permissions(path, temporary)
        os.replace(temporary, path)
    except BaseException as error:
        if made:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if not isinstance(error, OSError):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room on the disk" if full else "check the folder"
        raise SnapshotError(str(path), f"cannot be written ({error.strerror})", advice) from error


def _keep_permissions(path: Path, temporary: Path) -> None:
    """Gives the new file the permissions of the regular file that it replaces, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode):
            os.chmod(temporary, mode & 0o777)
