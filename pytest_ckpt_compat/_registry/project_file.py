"""The tables of ``pyproject.toml`` or ``ckpt_compat.toml`` -> settings and registrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files, toml
from pytest_ckpt_compat._core.changes import MEMORY_BUDGET, RuleSeverity
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._registry import options
from pytest_ckpt_compat._registry.names import OWN_FILE, PROJECT_FILES
from pytest_ckpt_compat._registry.options import Option
from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._registry.severity_table import severities
from pytest_ckpt_compat._registry.tables import register_tables

TABLE = "tool.ckpt_compat"
CHECKPOINTS = f"[[{TABLE}.checkpoint]]"
SEVERITIES = f"[{TABLE}.severity]"
_TABLES = f"its tables are [{TABLE}], {SEVERITIES} and {CHECKPOINTS}"


@dataclass(frozen=True)
class Settings:
    """What a project's file sets.

    Attributes:
        file: name of the file that was read, or "" where none has the table.
        snapshot_dir: folder of the snapshots, or "" where it is not set.
        level: the level of a registration that names none.
        memory_budget: bytes of real tensors with which a verdict may be confirmed.
        severities: those that the project gives to rules.
        checkpoints: one table a checkpoint, as written.
    """

    file: str = ""
    snapshot_dir: str = ""
    level: Level = Level.BACKWARD
    memory_budget: int = MEMORY_BUDGET
    severities: tuple[RuleSeverity, ...] = ()
    checkpoints: tuple[Any, ...] = field(default=(), repr=False)


def read(root: Path) -> Settings:
    """The settings of a project; defaults where no file has the table.

    Raises:
        UsageError: a file is not TOML, or an option of the whole is unknown or invalid.
    """
    return settings_in(lambda name: _text(root / name))


def settings_in(text_of: Callable[[str], str | None]) -> Settings:
    """The settings in the texts of a project's files.

    Args:
        text_of: name of a file -> its text, or None where it is not there or does not name the table.

    Raises: as ``read``.
    """
    texts = {name: text for name in PROJECT_FILES if (text := text_of(name)) is not None}
    tables = ((name, _table(name, text)) for name, text in texts.items())
    found = [(name, table) for name, table in tables if table is not None]
    if len(found) > 1:
        (first, _), (second, _) = found
        raise UsageError(f"{second} [{TABLE}]", f"is in {first} as well", "keep one of the two tables")
    return _settings(*found[0]) if found else Settings()


def registrations(settings: Settings, search: SearchPath) -> tuple[Registration, ...]:
    """The checkpoints of a project's file."""
    return register_tables(f"{settings.file} {CHECKPOINTS}", settings.checkpoints, search)


def _text(path: Path) -> str | None:
    """The text of a file, or None; a file without the table's name is not read."""
    if not (path.is_file() if path.name == OWN_FILE else files.mentions(path, b"ckpt_compat")):
        return None
    try:
        return files.read_text(path, files.SETTINGS_BYTES)
    except (OSError, ValueError) as error:
        raise UsageError(path.name, f"cannot be read: {error}", "check the file") from error


def _table(name: str, text: str) -> Mapping[str, Any] | None:
    """The settings in the text of a file, or None."""
    try:
        data = toml.parse(text)
    except ValueError as error:
        raise UsageError(name, f"is not TOML: {error}", "correct it") from error
    own = name == OWN_FILE
    if own:
        unknown = next((key for key in data if key != "tool"), None)
        if unknown is not None:
            raise UsageError(name, f"has a key {unknown!r}", _TABLES)
    tool = data.get("tool", {})
    table = tool.get("ckpt_compat") if isinstance(tool, dict) else None
    if own and table is None:
        raise UsageError(name, "has no settings", _TABLES)
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"{name} [{TABLE}]", "is not a table", f"write [{TABLE}]")
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
        Option("severity", (Mapping,), f"a table, {SEVERITIES}", default="{}"),
        Option("checkpoint", (list,), f"a list of tables, {CHECKPOINTS}", default="[]"),
    )
    options.check(f"{file} [{TABLE}]", table, declared)
    return Settings(
        file=file,
        snapshot_dir=table.get("snapshot_dir", ""),
        memory_budget=table.get("memory_budget", MEMORY_BUDGET),
        level=Level(table.get("level", Settings.level)),
        severities=severities(f"{file} {SEVERITIES}", table.get("severity", {})),
        checkpoints=tuple(table.get("checkpoint", ())),
    )
