"""What git knows about the commit that a branch is compared with. Reads; checks nothing out."""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_ckpt_compat.errors import UsageError

_SHA = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True)
class Base:
    """The commit that a branch left its target at.

    Attributes:
        ref: the target, as it was given (``origin/main``).
        commit: id of the merge base.
        tree: id of its tree.
        top: the repository's top folder.
        prefix: the project's root folder within it, ``""`` or ending in a slash.
        root: the project's root folder.
    """

    ref: str
    commit: str
    tree: str
    top: Path
    prefix: str
    root: Path

    @property
    def label(self) -> str:
        """``origin/main (merge base 1a2b3c4d)``."""
        return f"{self.ref} (merge base {self.commit[:8]})"

    def place(self, path: Path) -> str:
        """A path of the project, as git names it."""
        relative = os.path.relpath(path, self.root).replace(os.sep, "/")
        return posixpath.normpath(self.prefix + relative)


def merge_base(root: Path, ref: str) -> Base:
    """The commit at which HEAD left ``ref``.

    Raises:
        UsageError: there is none, or it is not in this clone; names the command that fetches it.
    """
    subject = f"--against {ref}"
    if ref.startswith("-") or not ref.strip():
        raise UsageError(subject, "is no reference", "give a branch, a tag or a commit, such as origin/main")
    try:
        top = _line(root, "rev-parse", "--show-toplevel")
    except FileNotFoundError:
        raise UsageError(subject, "git is not installed", "install git") from None
    if not top:
        raise UsageError(subject, f"{root} is in no git repository", "run it in a clone of the project")
    if not _line(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        raise UsageError(subject, "this repository has no commits", "commit first")
    shallow = _line(root, "rev-parse", "--is-shallow-repository") == "true"
    target = _line(root, "rev-parse", "--verify", "--quiet", "--end-of-options", ref + "^{commit}")
    if not target:
        raise UsageError(subject, "is not known here", f"run: {_fetch(root, ref, shallow)}")
    commit = _line(root, "merge-base", target, "HEAD")
    if not commit and shallow:
        problem = "this clone is shallow and lacks the commit that HEAD and it have in common"
        raise UsageError(subject, problem, f"run: {_fetch(root, ref, shallow)}")
    if not commit:
        raise UsageError(subject, "has no commit in common with HEAD", "give the branch that this one left")
    return Base(
        ref=ref,
        commit=commit,
        tree=_line(root, "rev-parse", commit + "^{tree}"),
        top=Path(top),
        prefix=_line(root, "rev-parse", "--show-prefix"),
        root=root,
    )


def read(base: Base, path: Path) -> str | None:
    """The text of a file as the commit has it, or None where it has none."""
    done = _run(base.top, "show", f"{base.commit}:{base.place(path)}")
    return None if done.returncode else done.stdout.decode("utf-8", "surrogateescape")


def files(base: Base, folder: Path) -> tuple[str, ...]:
    """Names of the files in a folder as the commit has it, relative to the folder."""
    place = base.place(folder)
    done = _run(base.top, "ls-tree", "-r", "-z", "--name-only", base.commit, "--", place + "/")
    names = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return tuple(name.removeprefix(place + "/") for name in names if name)


def submodules(base: Base) -> tuple[str, ...]:
    """Paths of the submodules of the commit: an archive leaves them out."""
    done = _run(base.top, "ls-tree", "-r", "-z", base.commit)
    entries = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return tuple(entry.partition("\t")[2] for entry in entries if entry.startswith("160000"))


def archive(base: Base) -> Iterator[bytes]:
    """The commit's tree as the bytes of a tar file.

    Raises:
        UsageError: git could not read it all.
    """
    command = ["git", "-C", str(base.top), "archive", "--format=tar", base.commit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while block := process.stdout.read(1 << 20):
            yield block
        complaint = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
    if process.returncode:
        advice = f"run: {_fetch(base.top, base.ref, True)}"
        raise UsageError(f"git archive {base.commit[:8]}", complaint or "failed", advice)


def _fetch(root: Path, ref: str, shallow: bool) -> str:
    """The command after which ``ref`` and its history are known."""
    remotes = (_line(root, "remote") or "origin").split()
    remote, _, branch = ref.partition("/")
    if remote in remotes and branch:
        source = f"+refs/heads/{branch}:refs/remotes/{remote}/{branch}"
    else:
        remote = remotes[0]
        source = ref if _SHA.fullmatch(ref) else f"+refs/heads/{ref}:refs/heads/{ref}"
    return f"git fetch {'--unshallow ' if shallow else ''}{remote} {source}"


def _line(root: Path, *args: str) -> str:
    """What a git command prints, or "" where it fails."""
    done = _run(root, *args)
    return "" if done.returncode else done.stdout.decode("utf-8", "surrogateescape").strip()


def _run(root: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-C", str(root), *args]
    return subprocess.run(command, capture_output=True, env=environment, check=False)  # noqa: S603
