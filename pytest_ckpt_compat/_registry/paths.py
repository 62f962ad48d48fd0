"""The files that a registered path stands for, found on disk or by their snapshots."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from pytest_ckpt_compat._core import addresses
from pytest_ckpt_compat._core.changes import MEMORY_BUDGET, RuleSeverity
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._core.training_runs import is_training_run
from pytest_ckpt_compat._registry.logged import lists_runs


@dataclass(frozen=True)
class SearchPath:
    """Where relative paths are looked for.

    Attributes:
        folders: the test file's folder, then the root folder.
        root: the root folder; shown paths and default ids are relative to it.
        recorded: gives (shown path, id) of every stored snapshot.
        level: the level of a registration that names none.
        memory_budget: bytes of real tensors with which a verdict may be confirmed.
        severities: those that the project gives to rules.
    """

    folders: tuple[Path, ...]
    root: Path
    recorded: Callable[[], Iterator[tuple[str, str]]]
    level: Level = Level.BACKWARD
    memory_budget: int = MEMORY_BUDGET
    severities: tuple[RuleSeverity, ...] = ()


def is_glob(path: object) -> bool:
    """Whether a path stands for any number of files."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    text = os.fspath(path)
    if is_training_run(text):
        return lists_runs(text)
    return glob.has_magic(text) and not addresses.is_url(text)


def find_file(text: str, search: SearchPath) -> tuple[Path, str]:
    """The file that a path means, and how reports write it.

    Where no folder has the file, the path is that of its snapshot, or else in the first folder.
    """
    if addresses.is_url(text):
        shown = addresses.redacted(text)
        return Path(shown), shown
    candidates = list(dict.fromkeys(Path(os.path.normpath(folder / text)) for folder in search.folders))
    path = next((path for path in candidates if os.path.exists(path)), None)
    if path is None and len(candidates) == 1:
        path = candidates[0]
    if path is None:
        known = {shown for shown, _ in search.recorded()}
        path = next((each for each in candidates if _shown(each, search.root) in known), candidates[0])
    return path, _shown(path, search.root)


def beside(text: str, checkpoint: Path, search: SearchPath) -> str:
    """A file that belongs to a checkpoint: in its directory, or else where ``find_file`` looks for it."""
    if addresses.is_url(text):
        return text
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    own = Path(os.path.normpath(folder / text))
    return str(own if own.exists() else find_file(text, search)[0])


def find_files(subject: str, text: str, search: SearchPath) -> tuple[tuple[Path, str], ...]:
    """The files that a path or glob means, and how reports write them.

    A glob also finds absent files that have a snapshot. The first folder with a match decides.

    Raises:
        UsageError: a glob matches nothing.
    """
    if not is_glob(text):
        return (find_file(text, search),)
    for folder in search.folders:
        hits = sorted(glob.glob(os.path.join(glob.escape(str(folder)), text), recursive=True))
        found = {_shown(Path(hit), search.root): Path(hit) for hit in hits}
        pattern = _pattern(_shown(folder / text, search.root))
        for shown, identifier in search.recorded():
            if shown == identifier and pattern.fullmatch(shown):
                found.setdefault(shown, search.root / shown)
        if found:
            return tuple((path, shown) for shown, path in sorted(found.items()))
    folders = " or ".join(dict.fromkeys(map(str, search.folders)))
    advice = "check the path"
    if any((folder / text).exists() for folder in search.folders):
        advice = f"a file has this very name: write it as {glob.escape(text)}"
    raise UsageError(subject, f"{text} matches no file in {folders}", advice)


def _pattern(text: str) -> re.Pattern[str]:
    """A glob as ``glob.glob`` reads it, for whole paths: a star stays within a folder."""
    parts = ["(?:[^/]+/)*" if part == "**" else _segment(part) + "/" for part in text.split("/")]
    return re.compile("".join(parts).removesuffix("/"))


def _segment(part: str) -> str:
    signs = {"*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\[!?\]?[^\]]*\]|.", part)
    return "".join(
        f"(?!/){translate(token)[len('(?s:') : -len(')_Z')]}"  # as fnmatch has it, which refuses none
        if len(token) > 1
        else signs.get(token, re.escape(token))
        for token in tokens
    )


def _shown(path: Path, root: Path) -> str:
    relative = os.path.relpath(path, root)
    return (str(path) if relative.startswith("..") else relative).replace(os.sep, "/")
