"""Real git repositories for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import MODELS, SETTINGS, save

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
"""

_NOBODY = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.com",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def git(folder: Path, *args: str) -> str:
    """What a git command prints; a failure fails the test."""
    command = ["git", "-c", "protocol.file.allow=always", *args]
    environment = os.environ | _NOBODY
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, message: str = "change") -> str:
    """Commits everything; returns the commit's id."""
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def make_project(folder: Path, entry: str = ENTRY) -> Path:
    """The small project of the other tests, with a registered checkpoint, in a repository without commits."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models.py").write_text(MODELS)
    (folder / "pyproject.toml").write_text(SETTINGS + entry)
    (folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    save(folder / "net.pt")
    git(folder, "init", "-q", "-b", "main")
    return folder


def make_branch(pytester: pytest.Pytester, entry: str = ENTRY) -> None:
    """Makes the project, records and commits it on ``main``, and leaves that for a branch."""
    make_project(pytester.path, entry)
    checkpoints = entry.count("[[tool.ckpt_compat.checkpoint]]")
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=checkpoints)
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-c", "work")


def edit(path: Path, old: str, new: str) -> None:
    """Replaces text in a file; whatever was compiled from it is out of date."""
    text, before = path.read_text(), path.stat().st_mtime
    assert old in text
    path.write_text(text.replace(old, new))
    later = max(before, path.stat().st_mtime) + 5
    os.utime(path, (later, later))
