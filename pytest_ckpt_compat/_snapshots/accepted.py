"""``accepted.toml``: breaks that a user accepts, each with its reason, kept beside the snapshots.

An entry lists exact changes (rule, keys, both specs), so that it does not cover a different change
that comes later. People edit the file, too: writing an entry leaves every other line as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files, toml
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.rules import BY_ID
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._snapshots.writing import write

FILE = "accepted.toml"
#: Ends the id of an entry about a definition whose checkpoints the earlier code cannot load.
FORWARD = "@forward"

_HEADER = "# Accepted breaks. ckpt-compat accept adds them; review them in the pull request.\n"
_REDO = "restore it from git, or take the entry out and run ckpt-compat accept again"
#: Where in the code something was raised: the line number changes when other code does.
_LOCATION = re.compile(r" \([^()]*:\d+\)")
#: The number of changes that the writer notes beside them.
_COUNT = re.compile(r"\A\[(\s*)# [\d,]+ changes?(?=\s)")


@dataclass(frozen=True)
class Entry:
    """One accepted break.

    Attributes:
        id: the checkpoint, or the definition.
        rule: rule id.
        key: the glob that chose the changes; for people.
        reason: why it is accepted.
        until: the last day on which it is, or None.
        changes: the exact changes, as ``fact`` writes them.
    """

    id: str
    rule: str
    key: str
    reason: str
    until: date | None = None
    changes: tuple[str, ...] = ()


def load(folder: Path) -> tuple[Entry, ...]:
    """The accepted breaks of a project; none where the file is not there.

    Raises:
        SnapshotError: the file cannot be read or used; names the entry and its key.
    """
    path, shown = folder / FILE, f"{folder.name}/{FILE}"
    if not path.exists() and not path.is_symlink():
        return ()
    try:
        text = files.read_text(path, files.SETTINGS_BYTES)
    except (OSError, ValueError) as error:
        raise SnapshotError(shown, f"cannot be read: {error}", _REDO) from error
    return loads(text, shown)


def loads(text: str, shown: str) -> tuple[Entry, ...]:
    """The accepted breaks in a file's text.

    Args:
        text: the file's text.
        shown: its path, for messages.

    Raises:
        SnapshotError: the text is not TOML, or an entry cannot be used; names the entry and its key.
    """
    try:
        data = toml.parse(text)
    except ValueError as error:
        raise SnapshotError(shown, f"is not TOML: {error}", _REDO) from error
    tables = data.pop("accepted", [])
    if data or not isinstance(tables, list):
        what = f"has a key {next(iter(data))!r}" if data else "has a key 'accepted' that is no list of tables"
        raise SnapshotError(shown, what, "its tables are [[accepted]]")
    return tuple(_entry(table, f"{shown} [[accepted]] number {n}") for n, table in enumerate(tables, 1))


def save(folder: Path, entry: Entry) -> None:
    """Adds an entry to a project's file, or updates the one with the same id, rule and key.

    Raises:
        SnapshotError: the file cannot be read or written; what was there stays.
    """
    load(folder)
    path = folder / FILE
    write(path, put(path.read_bytes().decode("utf-8") if path.exists() else "", entry))


def put(text: str, entry: Entry) -> str:
    """The text of a file with an entry added, or with the entry of the same id, rule and key updated.

    All other lines stay as they are: comments, order, layout, line ends.

    Args:
        text: a file that ``load`` accepts, or "".
        entry: what to add.
    """
    import tomlkit
    from tomlkit.items import Array

    document = tomlkit.parse(text)
    tables: Any = document.get("accepted", ())
    identity = [visible(each) for each in (entry.id, entry.rule, entry.key)]
    for table in tables:
        if [table["id"], table["rule"], table.get("key", "*")] == identity:
            _update(table, entry)
            return tomlkit.dumps(document)
    if isinstance(tables, Array):
        tables.append(_inline(entry))
        return tomlkit.dumps(document)
    line_end = "\r\n" if "\r\n" in text else "\n"
    before = text or _HEADER
    before += "" if before.endswith("\n") else line_end
    return before + ("\n" + _block(entry)).replace("\n", line_end)


def fact(change: Change) -> str:
    """``head.weight float32[4, 16] -> head.weight float32[6, 16]``: keys and specs on both sides.

    A change without keys is written as its detail, without its location in the code.
    """
    if not change.old and not change.new:
        return visible(_LOCATION.sub("", change.detail))
    return f"{_side(change.old, change.old_specs)} -> {_side(change.new, change.new_specs)}"


def _side(keys: Sequence[str], specs: Sequence[TensorSpec]) -> str:
    padded = [*map(str, specs), *[""] * len(keys)]
    parts = (f"{key} {spec}".strip() for key, spec in zip(keys, padded, strict=False))
    return visible(", ".join(parts)) or "(none)"


def _entry(table: Any, subject: str) -> Entry:
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
            raise SnapshotError(f"{subject}, key {name}", "is not there or empty", _REDO)
    if table["rule"] not in BY_ID:
        raise SnapshotError(f"{subject}, key rule", f"is {table['rule']!r}, which is no rule", _REDO)
    keyless = BY_ID[table["rule"]].keyless
    sound = (isinstance(text, str) and (" -> " in text or (keyless and text)) for text in table["changes"])
    if not all(sound) or "(none) -> (none)" in table["changes"]:
        raise SnapshotError(f"{subject}, key changes", "holds something that is no change", _REDO)
    return Entry(
        table["id"],
        table["rule"],
        table.get("key", "*"),
        table["reason"],
        table.get("until"),
        tuple(table["changes"]),
    )


def _block(entry: Entry) -> str:
    lines = ["[[accepted]]"]
    lines += [f"{name} = {_quote(getattr(entry, name))}" for name in ("id", "rule", "key", "reason")]
    if entry.until is not None:
        lines.append(f"until = {entry.until.isoformat()}")
    changes = "".join(f"    {_quote(text)},\n" for text in entry.changes)
    return "\n".join([*lines, f"changes = [  # {count(len(entry.changes), 'change')}\n{changes}]\n"])


def _quote(text: str) -> str:
    """A TOML string of one line."""
    return json.dumps(visible(text), ensure_ascii=False)


def _inline(entry: Entry) -> Any:
    import tomlkit

    table = tomlkit.inline_table()
    table.update({name: visible(getattr(entry, name)) for name in ("id", "rule", "key", "reason")})
    if entry.until is not None:
        table["until"] = entry.until
    table["changes"] = [visible(text) for text in entry.changes]
    return table


def _update(table: Any, entry: Entry) -> None:
    """Changes reason, date and changes of a table of ``tomlkit``; what stays the same is not touched."""
    if table["reason"] != visible(entry.reason):
        table["reason"] = visible(entry.reason)
    if entry.until is None:
        table.pop("until", None)
    elif "until" in table:
        table["until"] = entry.until
    else:
        _insert_until(table, entry.until)
    _update_changes(table, [visible(text) for text in entry.changes])


def _insert_until(table: Any, until: date) -> None:
    from tomlkit.items import InlineTable

    if isinstance(table, InlineTable):
        table["until"] = until
        return
    # A new key would come last, below the comments above the next entry; a line end can hold a line.
    reason = table["reason"].trivia
    line_end = reason.trail or "\n"
    reason.trail = f"{line_end}{reason.indent}until = {until.isoformat()}{line_end}"


def _update_changes(table: Any, wanted: list[str]) -> None:
    import tomlkit

    array = table["changes"]
    if list(array) == wanted:
        return
    for number in reversed(range(len(array))):
        if array[number] not in wanted:
            del array[number]
    known = set(array)
    for text in wanted:
        if text not in known:
            array.append(text)
    noted = _COUNT.sub(rf"[\1# {count(len(array), 'change')}", array.as_string())
    table["changes"] = tomlkit.value(noted)
