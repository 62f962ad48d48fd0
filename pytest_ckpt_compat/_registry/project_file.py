"""The tables of ``pyproject.toml`` or ``ckpt_compat.toml`` -> settings and registrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files, toml
from pytest_ckpt_compat._core.changes import MEMORY_BUDGET
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._registry import options
from pytest_ckpt_compat._registry.names import OWN_FILE, PROJECT_FILES
from pytest_ckpt_compat._registry.options import Option
from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._registry.tables import register_tables

TABLE = "tool.ckpt_compat"
CHECKPOINTS = f"[[{TABLE}.checkpoint]]"
_TABLES = f"its tables are [{TABLE}] and {CHECKPOINTS}"


@dataclass(frozen=True)
class Settings:
    """What a project's file sets.

    Attributes:
        file: name of the file that was read, or "" where none has the table.
        snapshot_dir: folder of the snapshots, or "" where it is not set.
        level: the level of a registration that names none.
        memory_budget: bytes of real tensors with which a verdict may be confirmed.
        checkpoints: one table a checkpoint, as written.
    """

    file: str = ""
    snapshot_dir: str = ""
    level: Level = Level.BACKWARD
    memory_budget: int = MEMORY_BUDGET
    checkpoints: tuple[Any, ...] = field(default=(), repr=False)


def read(root: Path) -> Settings:
    """The settings of a project; defaults where no file has the table.

    Raises:
        UsageError: a file is not TOML, or an option of the whole is unknown or invalid.
    """
    found = [(name, table) for name in PROJECT_FILES if (table := _table(root / name)) is not None]
    if len(found) > 1:
        (first, _), (second, _) = found
        raise UsageError(f"{second} [{TABLE}]", f"is in {first} as well", "keep one of the two tables")
    return _settings(*found[0]) if found else Settings()


def registrations(settings: Settings, search: SearchPath) -> tuple[Registration, ...]:
    """The checkpoints of a project's file."""
    return register_tables(f"{settings.file} {CHECKPOINTS}", settings.checkpoints, search)


def _table(path: Path) -> Mapping[str, Any] | None:
    """The settings in a file, or None; a file without the table's name is not parsed."""
    own = path.name == OWN_FILE
    if not (path.is_file() if own else files.mentions(path, b"ckpt_compat")):
        return None
    try:
        text = files.read_text(path, files.SETTINGS_BYTES)
    except (OSError, ValueError) as error:
        raise UsageError(path.name, f"cannot be read: {error}", "check the file") from error
    try:
        data = toml.parse(text)
    except ValueError as error:
        raise UsageError(path.name, f"is not TOML: {error}", "correct it") from error
    if own:
        unknown = next((name for name in data if name != "tool"), None)
        if unknown is not None:
            raise UsageError(path.name, f"has a key {unknown!r}", _TABLES)
    tool = data.get("tool", {})
    table = tool.get("ckpt_compat") if isinstance(tool, dict) else None
    if own and table is None:
        raise UsageError(path.name, "has no settings", _TABLES)
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"{path.name} [{TABLE}]", "is not a table", f"write [{TABLE}]")
    return table


def _settings(file: str, table: Mapping[str, Any]) -> Settings:
    declared = (
        Option("snapshot_dir", (str,), "text, a folder", default='""'),
        Option(
            "memory_budget",
            (int,),
            "a number of bytes",
            default=str(MEMORY_BUDGET),
            valid=lambda value: value >= 0 and not isinstance(value, bool),
        ),
        *(option for option in options.OPTIONS if option.name == "level"),
        Option("checkpoint", (list,), f"a list of tables, {CHECKPOINTS}", default="[]"),
    )
    options.check(f"{file} [{TABLE}]", table, declared)
    return Settings(
        file=file,
        snapshot_dir=table.get("snapshot_dir", ""),
        memory_budget=table.get("memory_budget", MEMORY_BUDGET),
        level=Level(table.get("level", Settings.level)),
        checkpoints=tuple(table.get("checkpoint", ())),
    )
