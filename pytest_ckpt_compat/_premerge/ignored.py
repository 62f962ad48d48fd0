"""Snapshots that git leaves out of every commit, because a pattern of the project ignores their paths."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._premerge.git import environment
from pytest_ckpt_compat._snapshots import accepted, store


def remarks(folder: Path) -> list[str]:
    """A line about the files of the folder that git ignores; none outside of a repository and without git."""
    names = [*store.names(folder), *accepted.names(folder)] if folder.is_dir() else []
    if not names:
        return []
    command = ["git", "-C", str(folder), "check-ignore", "-z", "--verbose", "--stdin"]
    paths = b"".join(bytes(store.path_of(Path(), name)) + b"\0" for name in names)
    try:
        done = subprocess.run(command, input=paths, capture_output=True, env=environment(), check=False)  # noqa: S603
    except OSError:
        return []
    fields = done.stdout.decode("utf-8", "replace").split("\0")[:-1]
    matches = zip(*(fields[part::4] for part in range(4)), strict=True)
    found = [match for match in matches if not match[2].startswith("!")]  # such a pattern takes files back in
    if done.returncode or not found:
        return []
    file, line, pattern, name = found[0]
    where = visible(f"{file}:{line}: {pattern}")
    shown = visible(store.shown(folder, name))
    ignored = count(len(found), "file")
    add = f"git add --force {shlex.quote(os.path.relpath(folder))}"
    return [
        f"ignored   {ignored} by git, such as {shown} ({where}); commit with {add}, or change the pattern"
    ]
