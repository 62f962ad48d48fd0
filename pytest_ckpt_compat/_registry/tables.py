"""Tables of options, one a checkpoint, as the project's file and the hook give them -> registrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry import options
from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration, register, unresolved, without_duplicates


def register_tables(
    subject: str, tables: Iterable[Any], search: SearchPath, objects: bool = False
) -> tuple[Registration, ...]:
    """The registrations of tables. A table with a mistake becomes one that fails by itself.

    Args:
        subject: where the tables are written, for messages.
        tables: option -> value, a table a checkpoint.
        search: where relative paths are looked for.
        objects: whether Python code wrote them.
    """
    found: list[Registration] = []
    for number, table in enumerate(tables, 1):
        name = _name(table, number)
        try:
            found += _registered(f"{subject} {name}", table, search, objects)
        except UsageError as error:
            found.append(unresolved(name, error))
    return without_duplicates(found, subject)


def _registered(subject: str, table: Any, search: SearchPath, objects: bool) -> tuple[Registration, ...]:
    if not isinstance(table, Mapping):
        raise UsageError(subject, f"is {table!r}", "it must be a table with a path and a model")
    values = options.named(subject, table)
    options.check(subject, values, objects=objects)
    return register(subject, values, search)


def _name(table: Any, number: int) -> str:
    """How messages name a table: by its id, its path, or its number."""
    if isinstance(table, Mapping):
        for name in ("id", "path"):
            if isinstance(table.get(name), str):
                return str(table[name])
    return f"number {number}"
