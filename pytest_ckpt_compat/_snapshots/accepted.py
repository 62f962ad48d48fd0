"""Accepted breaks: what a user accepts, each with its reason, kept beside the snapshots.

An entry lists exact changes (rule, keys, both specs), so that it does not cover a different change
that comes later. Each has a file of its own in ``accepted/``, so that git merges the entries of two branches;
``accepted.toml``, which earlier versions wrote, may hold many. People edit the files, too; ``accepted_files``
writes them.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files, toml
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.rules import BY_ID
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._snapshots.conflicts import line_of_marker
from pytest_ckpt_compat._snapshots.shown import shown_folder

#: The one file of earlier versions.
FILE = "accepted.toml"
#: The folder with a file for each entry.
FOLDER = "accepted"
#: Ends the id of an entry about a definition whose checkpoints the earlier code cannot load.
FORWARD = "@forward"

_MERGE = "ckpt-compat update keeps what both branches accepted"
_REDO = "restore it from git, or take the entry out and run ckpt-compat accept again"
_FOLDER = "it holds the accepted breaks: restore it from git, or remove it"
#: Where in the code something was raised: the line number changes when other code does.
_LOCATION = re.compile(r" \([^()]*:\d+\)")


@dataclass(frozen=True)
class Entry:
    """One accepted break.

    Attributes:
        id: the checkpoint, or the definition; from a file, with control characters escaped.
        rule: rule id.
        key: the glob that chose the changes; for people.
        reason: why it is accepted.
        until: the last day on which it is, or None.
        changes: the exact changes, as ``facts`` writes them.
        file: the file that it is in, relative to the snapshot folder; "" of one that is not stored.
    """

    id: str
    rule: str
    key: str
    reason: str
    until: date | None = None
    changes: tuple[str, ...] = ()
    file: str = field(default="", compare=False)

    @property
    def identity(self) -> tuple[str, str, str]:
        """What an update of the entry keeps: id, rule and key, as people see them."""
        return visible(self.id), self.rule, visible(self.key)


def load(folder: Path) -> tuple[Entry, ...]:
    """The accepted breaks of a project; none where there is no file.

    Raises:
        SnapshotError: a file cannot be read or used; names the entry and its key.
    """
    return tuple(entry for name in names(folder) for entry in entries_of(folder, name))


def names(folder: Path) -> tuple[str, ...]:
    """The files with accepted breaks, relative to the snapshot folder.

    Raises:
        SnapshotError: what lies in the place of their folder is none, or cannot be read.
    """
    one, many = folder / FILE, folder / FOLDER
    first = (FILE,) if one.exists() or one.is_symlink() else ()
    try:
        found = os.listdir(many)
    except FileNotFoundError as error:
        if many.is_symlink():
            raise SnapshotError(
                f"{shown_folder(folder)}/{FOLDER}", "is a link to nothing", _FOLDER
            ) from error
        found = []
    except OSError as error:
        problem = f"cannot be read as a folder: {error.strerror}"
        raise SnapshotError(f"{shown_folder(folder)}/{FOLDER}", problem, _FOLDER) from error
    return (*first, *sorted(f"{FOLDER}/{name}" for name in found if name.endswith(".toml")))


def entries_of(folder: Path, name: str) -> tuple[Entry, ...]:
    """The accepted breaks in one file.

    Raises:
        SnapshotError: the file cannot be read or used; names the entry and its key.
    """
    return loads(read(folder, name), f"{shown_folder(folder)}/{name}", name)


def read(folder: Path, name: str) -> str:
    """The text of a file, with its own line ends; "" where it is not there.

    Raises:
        SnapshotError: the file cannot be read.
    """
    path = folder / name
    if not path.exists() and not path.is_symlink():
        return ""
    try:
        return files.read_bytes(path, files.SETTINGS_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{shown_folder(folder)}/{name}", f"cannot be read: {error}", _REDO) from error


@functools.lru_cache(maxsize=1024)  # every check of a run asks for each
def loads(text: str, shown: str, file: str = "") -> tuple[Entry, ...]:
    """The accepted breaks in a file's text.

    Args:
        text: the file's text.
        shown: its path, for messages.
        file: its path relative to the snapshot folder, for the entries.

    Raises:
        SnapshotError: the text is not TOML, or an entry cannot be used; names the entry and its key.
    """
    try:
        data = toml.parse(text)
    except ValueError as error:
        if line := line_of_marker(text):
            raise SnapshotError(shown, f"has conflict markers (line {line})", _MERGE) from error
        raise SnapshotError(shown, f"is not TOML: {error}", _REDO) from error
    tables = data.pop("accepted", [])
    if data or not isinstance(tables, list):
        what = (
            f"has a key {next(iter(data))!r}" if data else "has a key 'accepted' that is not a list of tables"
        )
        raise SnapshotError(shown, what, "its tables are [[accepted]]")
    return tuple(_entry(table, f"{shown} [[accepted]] number {n}", file) for n, table in enumerate(tables, 1))


def facts(change: Change) -> tuple[str, ...]:
    """``head.weight float32[4, 16] -> head.weight float32[6, 16]``: keys and specs on both sides.

    A change without keys is written as its detail, without its location in the code. A prefix is one
    fact for each key, so that it stays known where some of the keys are gone. Settings have no specs: their
    detail says what changed.
    """
    if not change.old and not change.new:
        return (visible(_LOCATION.sub("", change.detail)),)
    old, new = (change.old, change.old_specs), (change.new, change.new_specs)
    if change.kind == "prefixed":
        each = zip_longest(*(_each(*side) for side in (old, new)), fillvalue="(none)")
        return tuple(f"{before} -> {after}" for before, after in each)
    said = f": {visible(change.detail)}" if change.kind == "settings-changed" else ""
    return (f"{_side(*old)} -> {_side(*new)}{said}",)


def _side(keys: Sequence[str], specs: Sequence[TensorSpec]) -> str:
    return ", ".join(_each(keys, specs)) or "(none)"


def _each(keys: Sequence[str], specs: Sequence[TensorSpec]) -> list[str]:
    return [visible(f"{key} {spec}".strip()) for key, spec in zip_longest(keys, specs, fillvalue="")]


def _entry(table: Any, subject: str, file: str) -> Entry:
    if not isinstance(table, Mapping):
        raise SnapshotError(subject, "is not a table", _REDO)
    wanted = {"id": str, "rule": str, "key": str, "reason": str, "until": date, "changes": list}
    for name, value in table.items():
        if name not in wanted:
            raise SnapshotError(f"{subject}, key {name}", "is unknown", f"keys are {', '.join(wanted)}")
        if type(value) is not wanted[name]:  # a date with a time of day is a datetime
            raise SnapshotError(f"{subject}, key {name}", f"is {value!r}", _REDO)
    for name in ("id", "rule", "reason", "changes"):
        if not table.get(name) or (name == "reason" and not table[name].strip()):
            raise SnapshotError(f"{subject}, key {name}", "is missing or empty", _REDO)
    if table["rule"] not in BY_ID:
        raise SnapshotError(f"{subject}, key rule", f"is {table['rule']!r}, which is not a rule", _REDO)
    keyless = BY_ID[table["rule"]].keyless
    sound = (isinstance(text, str) and (" -> " in text or (keyless and text)) for text in table["changes"])
    if not all(sound) or "(none) -> (none)" in table["changes"]:
        raise SnapshotError(f"{subject}, key changes", "holds something that is not a change", _REDO)
    return Entry(
        visible(table["id"]),
        table["rule"],
        visible(table.get("key", "*")),
        table["reason"],
        table.get("until"),
        tuple(table["changes"]),
        file,
    )
