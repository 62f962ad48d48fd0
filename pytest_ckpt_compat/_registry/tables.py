"""Tables of options, one a checkpoint, as the project's file and the hook give them -> registrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry import options
from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration, register, unresolved, without_duplicates


def check_tables(subject: str, tables: Iterable[Any], objects: bool = False) -> tuple[Mapping[str, Any], ...]:
    """The tables as they are, once their options are checked.

    Args:
        subject: where they are written, for messages.
        tables: option -> value, a table a checkpoint.
        objects: whether Python code wrote them.

    Raises:
        UsageError: one is not a table, or has an option that is unknown, missing or invalid.
    """
    checked = []
    for number, table in enumerate(tables, 1):
        named = f"{subject} {_name(table, number)}"
        if not isinstance(table, Mapping):
            raise UsageError(named, f"is {table!r}", "it must be a table with a path and a model")
        options.check(named, table, objects=objects)
        checked.append(table)
    return tuple(checked)


def register_tables(
    subject: str, tables: Iterable[Mapping[str, Any]], search: SearchPath
) -> tuple[Registration, ...]:
    """The registrations of checked tables. A table that cannot be resolved becomes one that fails by itself.

    Raises:
        UsageError: two have one id.
    """
    found: list[Registration] = []
    for number, table in enumerate(tables, 1):
        name = _name(table, number)
        try:
            found += register(f"{subject} {name}", table, search)
        except UsageError as error:
            found.append(unresolved(name, error))
    return without_duplicates(found, subject)


def _name(table: Any, number: int) -> str:
    """How messages name a table: by its id, its path, or its number."""
    if isinstance(table, Mapping):
        for name in ("id", "path"):
            if isinstance(table.get(name), str):
                return str(table[name])
    return f"number {number}"
