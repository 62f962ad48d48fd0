"""What was answered before about a tree of code, in the user's private cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import sys
import zlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._premerge.trees import private_cache

#: Bytes of all answers; where they have more, those that were used last stay.
MOST_BYTES = 64 << 20
#: It grows when an earlier answer would be wrong.
_VERSION = 2
#: Variables of the environment that change from shell to shell, and say nothing of a model.
_OF_SHELLS = frozenset(
    {"_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES", "TERM", "WINDOWID", "TMUX", "TMUX_PANE", "STY"}
)
#: Ends the names of folders that say which libraries are installed, and in which version.
_INSTALLED = (".dist-info", ".egg-info")


class Cache:
    """Answers by the digest of all that they depend on. It fails silently: then the code is asked."""

    def __init__(self) -> None:
        self._environment = _environment()
        parent = private_cache()
        self._folder = None if parent is None else parent / "history"
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.mkdir(mode=0o700, exist_ok=True)

    def key(self, *facts: Any) -> str:
        """The digest of plain data, and of this environment."""
        return hashlib.sha256(json.dumps([*self._environment, *facts], default=str).encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """What is kept under a key, or None."""
        if self._folder is None:
            return None
        path = self._folder / key
        try:
            data = json.loads(_unpacked(path.read_bytes()))
            os.utime(path)
        except (OSError, ValueError, zlib.error):
            return None
        return data if isinstance(data, dict) and "error" not in data else None

    def put(self, key: str, data: Mapping[str, Any]) -> None:
        """Keeps data under a key, whole or not at all, whatever other processes do."""
        if self._folder is None:
            return
        unfinished = self._folder / f".{key}.{os.urandom(6).hex()}"
        with contextlib.suppress(OSError):
            try:
                unfinished.write_bytes(zlib.compress(json.dumps(data).encode()))
                os.replace(unfinished, self._folder / key)
            finally:
                unfinished.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes what was used longest ago, where there is too much."""
        if self._folder is None:
            return
        found = []
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                with contextlib.suppress(OSError):  # another process was quicker
                    facts = path.stat()
                    found.append((facts.st_mtime, facts.st_size, path))
        total = 0
        for _, size, path in sorted(found, reverse=True):
            total += size
            if total > MOST_BYTES:
                with contextlib.suppress(OSError):
                    path.unlink()


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, 4 * files.SNAPSHOT_BYTES)
    if not unpacker.eof:
        raise ValueError("it is longer than anything that is kept")
    return text


def _environment() -> list[Any]:
    """What an answer depends on besides the code that is asked.

    That is this package, Python, what is installed and when, and the variables of the environment.
    """
    installed = set()
    for path in sys.path:
        with contextlib.suppress(OSError), os.scandir(path or ".") as found:
            installed |= {(each.name, _changed(each)) for each in found if each.name.endswith(_INSTALLED)}
    variables = sorted(
        (name, value)
        for name, value in os.environ.items()
        if name not in _OF_SHELLS and not name.startswith(("SSH_", "TERM_", "VSCODE_", "PYTEST_"))
    )
    try:
        own = metadata.version("pytest-ckpt-compat")
    except metadata.PackageNotFoundError:
        own = ""
    return [
        _VERSION,
        own,
        str(Path(__file__).parents[1]),
        sys.version,
        platform.platform(),
        sorted(installed),
        hashlib.sha256(repr(variables).encode()).hexdigest(),  # they may hold secrets
    ]


def _changed(library: os.DirEntry[str]) -> int:
    """When a library was installed, in nanoseconds; 0 where that cannot be known."""
    with contextlib.suppress(OSError):
        return library.stat().st_mtime_ns
    return 0
