"""Adds tables to the file that registers a project's checkpoints; what is in it stays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files, toml
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._registry.names import OWN_FILE
from pytest_ckpt_compat._registry.project_file import CHECKPOINTS
from pytest_ckpt_compat._snapshots.writing import write

#: A name that TOML takes without quotes.
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def add(root: Path, file: str, tables: Sequence[Mapping[str, Any]]) -> str:
    """Appends tables of checkpoints to a project's file; returns the file's name.

    Args:
        root: the project's root folder.
        file: the file that has the project's settings, or "" where none has.
        tables: option -> value, of text, numbers, truth values, lists and tables.

    Raises:
        SnapshotError: the file cannot be read or written, or takes no more tables; it stays as it was.
    """
    path = root / (file or OWN_FILE)
    try:
        before = files.read_bytes(path, files.SETTINGS_BYTES).decode("utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise SnapshotError(path.name, f"cannot be read: {error}", "check the file") from error
    text = "\n".join(map(_table, tables))
    end = "\r\n" if "\r\n" in before else "\n"
    gap = "" if not before else end if before.endswith("\n") else 2 * end
    after = before + gap + text.replace("\n", end)
    if _checkpoints(after) != [*(_checkpoints(before) or ()), *map(dict, tables)]:
        lines = ", ".join(line for line in text.splitlines() if line)
        advice = f"add by hand, a line each: {lines}"
        raise SnapshotError(path.name, "takes no table at its end", advice)
    write(path, after)
    return path.name


def _checkpoints(text: str) -> list[Any] | None:
    """The tables of checkpoints in a file's text; None where the text is not as it should be."""
    try:
        found = toml.parse(text).get("tool", {}).get("ckpt_compat", {}).get("checkpoint", [])
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, list) else None


def _table(options: Mapping[str, Any]) -> str:
    lines = [CHECKPOINTS, *(f"{name} = {_value(value)}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_name(str(name))} = {_value(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
