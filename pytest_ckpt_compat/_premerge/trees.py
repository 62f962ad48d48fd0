"""The merge base's tree on disk: extracted anew for each run, in a private folder, and removed at its end.

Code is run from the tree, so nothing that already lies on the disk is taken for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._premerge import git

#: Bytes of the largest file that is extracted; code and settings are smaller, weights are larger.
LARGEST = 10 << 20
#: How the name of each folder begins.
_PREFIX = "pytest-ckpt-compat-"
#: Seconds after which the folder of a run that was killed is removed.
_OLD = 86_400


def extract(base: git.Base, wanted: Callable[[str], bool] = lambda _: True) -> Path:
    """Extracts the commit's tree into a new folder; returns its path. ``remove`` takes it.

    Links that lead out of the tree are left out, and so are large files. Of submodules git has no files.

    Args:
        base: the commit.
        wanted: tells by its name whether a file is extracted.

    Raises:
        BuildError: the files cannot be written.
        UsageError: git cannot read the commit.
    """
    parent = _parent()
    _remove_old(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise _unwritable(parent, error) from error
    tree = folder / "tree"
    try:
        tree.mkdir()
        # pytest looks for settings in all folders above the tree, and runs what they name: it ends here.
        (folder / "pytest.ini").touch()
        _write(base, tree, wanted)
    except BaseException as error:
        remove(tree)
        if isinstance(error, OSError):
            raise _unwritable(folder, error) from error
        raise
    return tree


def remove(tree: Path) -> None:
    """Removes what ``extract`` made."""
    shutil.rmtree(tree.parent, ignore_errors=True)


def _write(base: git.Base, tree: Path, wanted: Callable[[str], bool]) -> None:
    """Writes all files, then all links: no file is written through a link."""
    links: dict[Path, str] = {}
    for name, content, mode in git.contents(base, LARGEST, wanted):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == git.LINK:
            links[path] = os.fsdecode(content)
            continue
        path.write_bytes(content)
        if mode == git.EXECUTABLE:
            path.chmod(0o755)
    for path, target in links.items():
        with contextlib.suppress(OSError):  # not every system makes links for everybody
            path.symlink_to(target)
    top = os.path.realpath(tree)
    for path in links:  # once all are there, for one may lead through another
        if not (os.path.realpath(path) + os.sep).startswith(top + os.sep):
            path.unlink(missing_ok=True)


def _parent() -> Path:
    """The folder of the new folders: the user's cache if nobody else can write there, else the temporary one.

    Both are safe, as ``mkdtemp`` makes a folder that is new and the user's alone. The cache is on a disk.
    """
    return private_cache() or Path(tempfile.gettempdir())


def private_cache() -> Path | None:
    """The user's cache folder of this package; None where there is none, or somebody else can write there."""
    cache = _cache_folder()
    if cache is not None:
        with contextlib.suppress(OSError):
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(cache):
                return cache
    return None


def _cache_folder() -> Path | None:
    if sys.platform == "win32":  # its temporary folder is the user's own
        return None
    parent = Path(os.environ.get("XDG_CACHE_HOME") or "")
    try:
        parent = parent if parent.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    return parent / "pytest-ckpt-compat"


def _is_private(folder: Path) -> bool:
    """Whether nobody but the user and root can put anything into the folder, or another in its place."""
    if not _is_own(folder):
        return False
    for each in (folder, *(Path(os.path.realpath(folder.parent)) / folder.name).parents):
        facts = each.lstat()
        shared = facts.st_mode & 0o022 and (each == folder or not facts.st_mode & stat.S_ISVTX)
        if shared or facts.st_uid not in (0, _user(facts)):
            return False
    return True


def _is_own(folder: Path) -> bool:
    """Whether it is a folder of the user, and no link to one."""
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == _user(facts)


def _user(facts: os.stat_result) -> int:
    """The user's id; on a system that has none, a file's owner is nobody else."""
    return facts.st_uid if sys.platform == "win32" else os.geteuid()


def _remove_old(parent: Path) -> None:
    """Removes what runs left behind that were killed."""
    with contextlib.suppress(OSError):
        for folder in parent.glob(_PREFIX + "*"):
            with contextlib.suppress(OSError):
                if _is_own(folder) and folder.lstat().st_mtime < time.time() - _OLD:
                    shutil.rmtree(folder, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> BuildError:
    problem = f"the commit's files cannot be written there ({error.strerror or error})"
    return BuildError(str(folder), problem, "set TMPDIR to a folder that has room")
