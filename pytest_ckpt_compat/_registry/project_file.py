"""The tables of ``pyproject.toml`` or ``ckpt_compat.toml``: checkpoints registered without test code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import toml
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry.names import PROJECT_FILES
from pytest_ckpt_compat._registry.registration import LEVELS, OPTIONS, Place, Registration, register

TABLE = "tool.ckpt_compat"
ENTRIES = f"[[{TABLE}.checkpoint]]"

_SETTINGS: Mapping[str, type] = {"snapshot_dir": str, "level": str, "checkpoint": list}
_TYPES: Mapping[str, tuple[type, str]] = {
    "id": (str, "text"),
    "path": (str, "text"),
    "model": (str, 'text, "package.module:attr"'),
    "kwargs": (dict, "a table"),
    "key": (str, "text"),
    "strip_prefix": (str, "text"),
    "strict": (bool, "true or false"),
    "allow": (list, 'a list of ["CK202", "head.*", "the reason"]'),
    "level": (str, "text"),
    "optimizer": (str, 'text, "package.module:attr"'),
}


@dataclass(frozen=True)
class Settings:
    """What a project's file says.

    Attributes:
        file: name of the file that was read, or "" where none has the table.
        snapshot_dir: folder of the snapshots, or "" where it is not set.
        level: what a registered checkpoint is held to unless it says otherwise.
        checkpoints: one table a checkpoint, types checked.
    """

    file: str = ""
    snapshot_dir: str = ""
    level: str = "backward"
    checkpoints: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


def mentions(path: Path) -> bool:
    """Whether a file may hold the table: a look at its bytes, without a parser."""
    try:
        return b"ckpt_compat" in path.read_bytes()
    except OSError:
        return False


def read(root: Path) -> Settings:
    """The settings of a project; defaults where no file has the table.

    Raises:
        UsageError: a file is not TOML, or its table says something that cannot be meant.
    """
    found = [(name, table) for name in PROJECT_FILES if (table := _table(root / name)) is not None]
    if len(found) > 1:
        raise UsageError(
            f"{PROJECT_FILES[1]} [{TABLE}]",
            f"stands in {PROJECT_FILES[0]} as well",
            "keep one of the two tables",
        )
    return _settings(*found[0]) if found else Settings()


def registrations(settings: Settings, place: Place) -> tuple[Registration, ...]:
    """The checkpoints of a project's file.

    Raises:
        UsageError: a table says something that cannot be meant; names file, table and key.
    """
    return _register(settings.checkpoints, f"{settings.file} {ENTRIES}", place)


def contributed(tables: Iterable[Any], place: Place) -> tuple[Registration, ...]:
    """The checkpoints that a project's own registry gives, in tables like those of the file.

    Raises:
        UsageError: a table says something that cannot be meant.
    """
    subject = "hook pytest_ckpt_compat_checkpoints"
    checked = []
    for number, table in enumerate(tables, 1):
        if not isinstance(table, Mapping):
            raise UsageError(
                f"{subject}, entry {number}", f"is {table!r}", 'give {"path": ..., "model": ...}'
            )
        _check_entry(table, f"{subject}, {_named(table, number)}", free={"model", "optimizer"})
        checked.append(table)
    return _register(checked, subject, place)


def without_duplicates(found: Iterable[Registration], subject: str) -> tuple[Registration, ...]:
    """The registrations as they are. Raises UsageError where two have one id."""
    known: dict[str, Registration] = {}
    for each in found:
        if each.id in known:
            raise UsageError(
                f"{subject} {each.id}, key id",
                f"is registered twice, for {known[each.id].shown} and for {each.shown}",
                "give one of them another id",
            )
        known[each.id] = each
    return tuple(known.values())


def _register(tables: Iterable[Mapping[str, Any]], subject: str, place: Place) -> tuple[Registration, ...]:
    found: list[Registration] = []
    for number, table in enumerate(tables, 1):
        options = {name: value for name, value in table.items() if name != "path"}
        named = f"{subject} {_named(table, number)}"
        found += register(named, table["path"], options, place)
    return without_duplicates(found, subject)


def _table(path: Path) -> Mapping[str, Any] | None:
    own = path.name == PROJECT_FILES[1]
    if not (path.is_file() if own else mentions(path)):
        return None
    try:
        data = toml.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(path.name, f"is not TOML: {error}", "correct it") from error
    if own:
        strange = next((name for name in data if name != "tool"), None)
        if strange is not None:
            raise UsageError(path.name, f"has a key {strange!r}", f"its tables are [{TABLE}] and {ENTRIES}")
    tool = data.get("tool", {})
    table = tool.get("ckpt_compat") if isinstance(tool, dict) else None
    if own and table is None:
        raise UsageError(path.name, "has no settings", f"its tables are [{TABLE}] and {ENTRIES}")
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"{path.name} [{TABLE}]", "is not a table", f"write [{TABLE}]")
    return table


def _settings(file: str, table: Mapping[str, Any]) -> Settings:
    subject = f"{file} [{TABLE}]"
    for name, value in table.items():
        if name not in _SETTINGS:
            raise UsageError(f"{subject}, key {name}", "is unknown", f"keys are {', '.join(_SETTINGS)}")
        if not isinstance(value, _SETTINGS[name]):
            wanted = f"is written {ENTRIES}" if name == "checkpoint" else "is text"
            raise UsageError(f"{subject}, key {name}", f"is {value!r}", f"{name} {wanted}")
    level = table.get("level", "backward")
    if level not in LEVELS:
        raise UsageError(f"{subject}, key level", f"is {level!r}", f"levels are {', '.join(LEVELS)}")
    entries = table.get("checkpoint", [])
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise UsageError(f"{subject}, key checkpoint", f"holds {entry!r}", f"each is a table, {ENTRIES}")
        _check_entry(entry, f"{file} {ENTRIES} {_named(entry, number)}")
    return Settings(file, table.get("snapshot_dir", ""), level, tuple(entries))


def _check_entry(entry: Mapping[str, Any], subject: str, free: Iterable[str] = ()) -> None:
    """Types and names of a checkpoint's table; keys in ``free`` may hold anything."""
    for name, value in entry.items():
        if name not in _TYPES:
            known = ", ".join(("path", *OPTIONS))
            raise UsageError(f"{subject}, key {name}", "is unknown", f"keys are {known}")
        kind, wanted = _TYPES[name]
        if name not in free and not isinstance(value, kind):
            raise UsageError(f"{subject}, key {name}", f"is {value!r}", f"it must be {wanted}")
    for name in ("path", "model"):
        if not entry.get(name):
            raise UsageError(
                f"{subject}, key {name}", "is not there", "each checkpoint has a path and a model"
            )


def _named(entry: Mapping[str, Any], number: int) -> str:
    for name in ("id", "path"):
        if isinstance(entry.get(name), str):
            return str(entry[name])
    return f"number {number}"
