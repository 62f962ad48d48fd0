"""The cache: trees of earlier commits, and the answers of their code."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import sys
import tempfile
import time
from pathlib import Path

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._premerge import git

#: Bytes of the largest file that is extracted; code and settings are smaller, weights are larger.
LARGEST = 10 << 20
#: Days after which an unused tree is removed.
_DAYS = 30


def cache_folder() -> Path:
    """The folder of trees and answers, outside of every project unless the user sets it there."""
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        home = Path(tempfile.gettempdir())
    if sys.platform == "win32":
        parent = os.environ.get("LOCALAPPDATA") or str(home / "AppData" / "Local")
    else:
        parent = os.environ.get("XDG_CACHE_HOME") or str(home / ".cache")
    return Path(parent).absolute() / "pytest-ckpt-compat"


def folder_of(base: git.Base) -> Path:
    """The folder of a commit's tree and answers."""
    return cache_folder() / base.tree


def extracted(base: git.Base) -> Path:
    """Extracts the commit's tree once, whole or not at all, and returns its folder.

    Links that lead out of the tree are left out, and so are large files.

    Raises:
        BuildError: the cache cannot be written to.
        UsageError: git cannot read the commit.
    """
    folder = folder_of(base)
    tree = folder / "tree"
    try:
        if tree.is_dir():
            os.utime(folder)
            return tree
        folder.mkdir(parents=True, exist_ok=True)
        _forget_old(folder.parent)
        temporary = Path(tempfile.mkdtemp(dir=folder))
        try:
            for name, content, is_link in git.contents(base, LARGEST):
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if is_link:
                    _link(path, name, os.fsdecode(content))
                else:
                    path.write_bytes(content)
            os.replace(temporary, tree)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if not tree.is_dir():  # another process may have been quicker
            problem = f"cannot be written ({error.strerror or error})"
            raise BuildError(str(folder), problem, "set XDG_CACHE_HOME to a folder that can be") from error
    return tree


def _link(path: Path, name: str, target: str) -> None:
    end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if not posixpath.isabs(end) and end.partition("/")[0] != "..":
        with contextlib.suppress(OSError):  # not every system makes links for everybody
            path.symlink_to(target)


def keep(path: Path, text: str) -> None:
    """Writes an answer, whole or not at all. If it cannot be kept, the code has to answer again."""
    temporary = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


def _forget_old(cache: Path) -> None:
    """Removes the trees that have not been used for a while."""
    with contextlib.suppress(OSError):
        for folder in cache.iterdir():
            if folder.stat().st_mtime < time.time() - _DAYS * 86_400:
                shutil.rmtree(folder, ignore_errors=True)
