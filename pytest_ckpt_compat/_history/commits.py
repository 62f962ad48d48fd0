"""The commits of a repository along first parents, and which of their files are code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._premerge import git

#: Files of documents, pictures, archives and weights: they are neither looked at nor extracted, so that no
#: definition can depend on them.
_NO_CODE = frozenset(
    (
        *(".md", ".rst", ".ipynb", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".pdf", ".mp4"),
        *(".gz", ".zip", ".tar", ".tgz", ".xz", ".bz2", ".whl"),
        *(".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".onnx", ".npz", ".npy", ".h5", ".gguf"),
    )
)
#: How each commit begins in what git prints: signs that no name of a file is likely to have.
_BEGIN, _NEXT = "\x01commit ", "\x02"
_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Commit:
    """A commit, as people know it.

    Attributes:
        id: its whole id.
        date: the day of its commit, ``2026-11-27``.
        author: the author's name.
        subject: the first line of its message.
    """

    id: str
    date: str = ""
    author: str = ""
    subject: str = ""

    @property
    def short(self) -> str:
        """The first eight characters of its id."""
        return self.id[:8]


@dataclass(frozen=True)
class Code:
    """Which files of a repository's commits are code.

    Attributes:
        base: any commit of it.
        paths: the folders in which modules are looked for, relative to its top.
        left_out: a folder that has none, relative to its top, or "".
    """

    base: git.Base
    paths: tuple[str, ...]
    left_out: str = ""

    def has(self, name: str) -> bool:
        """Whether a file may matter to what a definition is."""
        path = PurePosixPath(name)
        if path.suffix.lower() in _NO_CODE or any(part.startswith(".") for part in path.parts):
            return False
        if self.left_out and name.startswith(self.left_out + "/"):
            return False
        return any(path_ == "." or name.startswith(path_ + "/") for path_ in self.paths)

    def at(self, commit: str) -> git.Base:
        """Another commit of the repository."""
        return replace(self.base, ref=commit, commit=commit, tree="")

    def digest(self, commit: str) -> str:
        """The digest of a commit's code: names, modes and contents.

        Raises:
            UsageError: git cannot read the commit.
        """
        found = git.entries(self.at(commit)).items()
        facts = [[name, entry.mode, entry.digest] for name, entry in sorted(found) if self.has(name)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def that_touched(code: Code, since: git.Base | None) -> tuple[Commit, ...]:
    """The commits along HEAD's first parents that touched the code, the oldest first.

    Args:
        code: what counts as code.
        since: the first of them, whatever it touched, is this one, or the one at which HEAD's line left it;
            None for the whole line.

    Raises:
        UsageError: git cannot read the commits.
    """
    wanted = ["HEAD"] if since is None else [f"{since.commit}..HEAD"]
    found = _log(code.base, "--first-parent", "-m", "--name-only", *wanted)
    touched = [commit for commit, names in found if any(map(code.has, names))]
    if since is None:
        return tuple(reversed(touched))
    oldest = found[-1][0].id + "^" if found else "HEAD"
    start = _log(code.base, "--no-walk", "--no-patch", oldest) or _log(
        code.base, "--no-walk", "--no-patch", oldest.removesuffix("^")
    )
    return tuple(dict.fromkeys((start[0][0], *reversed(touched))))


def renamed_from(code: Code, commit: Commit, file: str) -> str:
    """The name that a file had before a commit which renamed it, or ""."""
    done = _git(code.base, "diff-tree", "-r", "-M", "-z", "--no-commit-id", "--name-status", "-m", commit.id)
    fields = done.split("\0")
    for number, field in enumerate(fields[:-2]):
        if re.fullmatch(r"R\d+", field) and fields[number + 2] == file:
            return fields[number + 1]
    return ""


def is_dirty(base: git.Base) -> bool:
    """Whether tracked files of the work tree differ from HEAD."""
    return bool(_git(base, "status", "--porcelain", "-z", "--untracked-files=no").strip("\0 "))


def _log(base: git.Base, *args: str) -> list[tuple[Commit, list[str]]]:
    """Each commit that ``git log`` names, and the names of files that it prints for it."""
    form = _BEGIN + _NEXT.join(("%H", "%cs", "%an", "%s", ""))
    text = _git(
        base, "log", "-z", f"--format=tformat:{form}", "--no-show-signature", "--no-renames", *args, "--"
    )
    found: dict[Commit, list[str]] = {}
    for block in text.split(_BEGIN):
        fields = block.split(_NEXT)
        if len(fields) >= 5 and _ID.fullmatch(fields[0]):
            names = fields[-1].replace("\n", "\0").split("\0")
            commit = Commit(fields[0], fields[1], fields[2], _NEXT.join(fields[3:-1]))
            found.setdefault(commit, []).extend(name for name in names if name)
    return list(found.items())


def _git(base: git.Base, *args: str) -> str:
    # What -m does is the user's to set; without this, changes that a merge brings would be shown nowhere.
    command = ["git", "-C", str(base.top), "-c", "log.diffMerges=separate", *args]
    done = subprocess.run(command, capture_output=True, env=git.environment(), check=False)  # noqa: S603
    if done.returncode and args[0] == "log" and "--no-walk" not in args:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["failed"]
        raise UsageError(f"git {args[0]}", lines[-1], "run it in a clone of the project that git trusts")
    return os.fsdecode(done.stdout)
