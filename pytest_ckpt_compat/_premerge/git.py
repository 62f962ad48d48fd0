"""Reads the commit that a branch is compared with from git. Checks nothing out."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.files import read_bytes, require_size

#: Modes of a link, of an executable file and of a submodule, as git writes them.
LINK, EXECUTABLE, SUBMODULE = "120000", "100755", "160000"

_ENCODING = sys.getfilesystemencoding()
#: Characters of an id in a repository of SHA-1, as nearly all are; in others, they are of SHA-256.
_SHA1 = 40
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATED = re.compile(r"HEAD|FETCH_HEAD|ORIG_HEAD|@|[0-9a-f]{4,63}")
#: In what git takes for a range, a file, a tree, or the setting of a branch; none of it can be fetched.
_NO_NAME = re.compile(r"\.\.|:|\^\{|@\{|\s")
_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


@dataclass(frozen=True)
class Base:
    """The commit at which a branch left its target.

    Attributes:
        ref: the target, as it was given (``origin/main``).
        commit: id of the merge base.
        tree: id of its tree.
        top: the repository's top folder.
        prefix: the project's root folder within it, ``""`` or ending in a slash.
        root: the project's root folder.
        moved: today's snapshot folder and the one at the commit, as git writes them; or two of "".
    """

    ref: str
    commit: str
    tree: str
    top: Path
    prefix: str
    root: Path
    moved: tuple[str, str] = ("", "")

    @property
    def label(self) -> str:
        """``origin/main (merge base 1a2b3c4d)``."""
        return f"{self.ref} (merge base {self.commit[:8]})"

    def path_of(self, path: Path) -> str:
        """A path of the project as git writes it."""
        relative = os.path.relpath(path, self.root).replace(os.sep, "/")
        found = posixpath.normpath(self.prefix + relative)
        today, before = self.moved
        inside = today and (found == today or found.startswith(f"{today}/"))
        return before + found[len(today) :] if inside else found


def commit_at(root: Path, ref: str, subject: str) -> Base:
    """The commit that a branch, a tag or the like names.

    Args:
        root: the project's root folder.
        ref: the reference.
        subject: the option that gave it, for messages (``--at v1.0``).

    Raises:
        UsageError: there is none, or it is not in this clone; names the command that fetches it.
    """
    top, target = _resolved(root, ref, subject)
    return _base(root, ref, target, top)


def merge_base(root: Path, ref: str) -> Base:
    """The commit at which HEAD left ``ref``.

    Raises:
        UsageError: there is none, or it is not in this clone; names the command that fetches it.
    """
    subject = f"--against {ref}"
    top, target = _resolved(root, ref, subject)
    commit = _line(root, "merge-base", target, "HEAD")
    shallow = is_shallow(root)
    if not commit and shallow:
        problem = "this clone is shallow and lacks the commit that HEAD and it have in common"
        raise UsageError(subject, problem, f"run: {_fetch(root, ref, shallow)}")
    if not commit:
        raise UsageError(subject, "has no commit in common with HEAD", "give the branch that this one left")
    return _base(root, ref, commit, top)


def _base(root: Path, ref: str, commit: str, top: Path) -> Base:
    return Base(
        ref=ref,
        commit=commit,
        tree=_line(root, "rev-parse", commit + "^{tree}"),
        top=top,
        prefix=_line(root, "rev-parse", "--show-prefix"),
        root=root,
    )


def _resolved(root: Path, ref: str, subject: str) -> tuple[Path, str]:
    """The repository's top folder, and the id of the commit that a reference names."""
    no_reference = UsageError(
        subject, "is not a reference", "give a branch, a tag or a commit, such as origin/main"
    )
    if ref.startswith("-") or not ref.strip():
        raise no_reference
    try:
        done = _run(root, "rev-parse", "--show-toplevel")
    except FileNotFoundError:
        raise UsageError(subject, "git is not installed", "install git") from None
    top = _path(done.stdout).strip()
    if done.returncode or not top:
        problem = (done.stderr.decode(errors="replace").strip().splitlines() or [""])[0]
        if "not a git repository" in problem or not problem:
            problem = f"{root} is not in a git repository"
        raise UsageError(subject, problem, "run it in a clone of the project that git trusts")
    if not _line(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        raise UsageError(subject, "this repository has no commits", "commit first")
    target = _line(root, "rev-parse", "--verify", "--quiet", "--end-of-options", ref + "^{commit}")
    if not target and _NO_NAME.search(ref):
        raise no_reference
    if not target:
        raise UsageError(subject, "is not known here", f"run: {_fetch(root, ref, is_shallow(root))}")
    return Path(top), target


def is_shallow(root: Path) -> bool:
    """Whether a clone lacks the older part of its history."""
    return _line(root, "rev-parse", "--is-shallow-repository") == "true"


def base_of(root: Path, ref: str, folder: Path) -> Base:
    """The merge base, for a project that keeps its snapshots in ``folder``.

    Raises:
        UsageError: as ``merge_base`` does, or the folder is not part of the repository's commits.
    """
    base = merge_base(root, ref)
    path = base.path_of(folder)
    inside = next((each for each in submodules(base) if (path + "/").startswith(each + "/")), None)
    if inside is not None:
        problem = f"the snapshots are in the submodule {inside}, which has commits of its own"
        raise UsageError(f"--against {ref}", problem, "keep them in the repository of the code they describe")
    if path.startswith("../"):
        raise UsageError(f"--against {ref}", f"{folder} is outside of the repository", "keep it inside")
    return base


def read(base: Base, file: Path, most: int) -> str | None:
    """The text of a file at the commit, or None where it is not there.

    Raises:
        UsageError: git cannot read the commit.
        ValueError: the file has more than ``most`` bytes.
    """
    path = base.path_of(file)
    found = entries(base).get(path)
    if found is None:
        return None
    require_size(found.size, most)
    here = _same_here(found, file)
    return (_shown(base, path) if here is None else here).decode("utf-8", "surrogateescape")


def _same_here(entry: Entry, file: Path) -> bytes | None:
    """The content of a file in the work tree, if it is that of the commit: git need not be asked for it."""
    try:
        data = read_bytes(file, entry.size)
    except (OSError, ValueError):  # it is not there, or another
        return None
    make = hashlib.sha1 if len(entry.digest) == _SHA1 else hashlib.sha256
    digest = make(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return data if digest == entry.digest and entry.mode != LINK else None


def files(base: Base, folder: Path) -> tuple[str, ...]:
    """Names of the files in a folder at the commit, relative to the folder; UTF-8 in every locale.

    Raises:
        UsageError: git cannot read the commit.
    """
    path = base.path_of(folder)
    found = (name.removeprefix(path + "/") for name in entries(base) if name.startswith(path + "/"))
    return tuple(n.encode(_ENCODING, "surrogateescape").decode("utf-8", "surrogateescape") for n in found)


def submodules(base: Base) -> tuple[str, ...]:
    """Paths of the commit's submodules; ``contents`` has none of their files."""
    return tuple(name for name, entry in entries(base).items() if entry.mode == SUBMODULE)


def contents(
    base: Base, largest: int, wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, bytes, str]]:
    """Yields name, content and mode of each file and link that the commit stores.

    ``git archive`` would leave out what ``export-ignore`` names.

    Args:
        base: the commit.
        largest: bytes of the largest file that is given.
        wanted: tells by its name whether a file is given.

    Raises:
        UsageError: git could not read it all.
    """
    command = ["git", "-C", str(base.top), "cat-file", "--batch"]
    with subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - they are pipes
        for name, entry in entries(base).items():
            if entry.mode == SUBMODULE or entry.size > largest or not wanted(name):
                continue
            if not _stays_inside(name):
                continue
            process.stdin.write(entry.digest.encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline().split()
            if len(answer) != 3:
                raise _unreadable(base, f"it has no {name}")
            yield name, process.stdout.read(int(answer[2]) + 1)[:-1], entry.mode


def _stays_inside(name: str) -> bool:
    """Whether a file of this name lies in the folder that it is written to, on every system."""
    odd = os.name == "nt" and set(name) & set("\\:")
    return not odd and not {"", ".", ".."} & set(name.split("/"))


@dataclass(frozen=True)
class Entry:
    """What a commit has under a name: its mode, the id of its content, and the content's bytes."""

    mode: str
    digest: str
    size: int


@lru_cache(maxsize=1)
def entries(base: Base) -> Mapping[str, Entry]:
    """Path -> what the commit has there: files, links and submodules. A commit does not change."""
    found = {}
    for line in _path(_read(base, "ls-tree", "-z", "-r", "-l", "--full-tree", base.commit)).split("\0"):
        facts, _, name = line.partition("\t")
        if name:
            mode, _, digest, size = facts.split()
            found[name] = Entry(mode, digest, int(size) if size.isdecimal() else 0)
    return found


@lru_cache(maxsize=32)
def _shown(base: Base, path: str) -> bytes:
    """The content of a file at the commit, which several questions about one checkpoint read."""
    return _read(base, "show", f"{base.commit}:{path}")


def _read(base: Base, *args: str) -> bytes:
    done = _run(base.top, *args)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        raise _unreadable(base, next((each for each in reversed(lines) if each.strip()), "failed"))
    return done.stdout


def _unreadable(base: Base, problem: str) -> UsageError:
    shallow = is_shallow(base.top)
    return UsageError(f"commit {base.commit[:8]}", problem, f"run: {_fetch(base.top, base.ref, shallow)}")


def _fetch(root: Path, ref: str, shallow: bool) -> str:
    """The command after which ``ref`` and its history are known."""
    remotes = _line(root, "remote").split()
    if not remotes:
        return f"git fetch URL, with the address of the repository that has {ref}: this one has no remote"
    remote, specs = _sources(ref, remotes)
    words = ["git", "fetch", *(["--unshallow"] if shallow else []), remote, *specs]
    return shlex.join(words)


def _sources(ref: str, remotes: list[str]) -> tuple[str, list[str]]:
    """The remote and the refspecs that bring what ``ref`` names, ``~1`` and the like aside."""
    name = re.split(r"[~^:]|@\{", ref)[0]
    first, _, branch = name.removeprefix("refs/remotes/").partition("/")
    if first in remotes and branch:
        return first, [f"+refs/heads/{branch}:refs/remotes/{first}/{branch}"]
    if _SHA.fullmatch(name):
        return remotes[0], [name]
    if _ABBREVIATED.fullmatch(name):
        return remotes[0], [f"+refs/heads/*:refs/remotes/{remotes[0]}/*"]
    if name.startswith(("refs/", "tags/", "heads/")):
        full = "refs/" + name.removeprefix("refs/")
        return remotes[0], [f"+{full}:{full}"]
    # A branch or a tag: the star makes that of the two a pattern which is not there, and no failure.
    return remotes[0], [f"+refs/{kind}/{name}*:refs/{kind}/{name}*" for kind in ("heads", "tags")]


def _path(data: bytes) -> str:
    """What git prints, as this system writes paths: given back to git, it is the same bytes."""
    return data.decode(_ENCODING, "surrogateescape")


def _line(root: Path, *args: str) -> str:
    """What a git command prints, or "" where it fails."""
    done = _run(root, *args)
    return "" if done.returncode else _path(done.stdout).strip()


def _run(root: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(root), *args]
    return subprocess.run(command, capture_output=True, env=environment(), check=False)  # noqa: S603


def environment() -> dict[str, str]:
    """The environment without git's variables: in a hook they name a repository and override ``-C``."""
    own = {name: text for name, text in os.environ.items() if name not in _VARIABLES}
    return own | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
