"""Plain data that was an object in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: The name that a record has among its own items where it is written down.
_CLASS = "__class__"


class Record(dict[Any, Any]):
    """The items or attributes of an object, by name.

    Attributes:
        name: its class (``argparse.Namespace``).
    """

    def __init__(self, items: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), name: str = "") -> None:
        super().__init__(items)
        self.name = name


def marked(value: Any) -> Any:
    """Returns plain data in which each record's class is one of its items."""
    if isinstance(value, dict):
        items = {name: marked(item) for name, item in value.items()}
        return {**items, _CLASS: value.name} if isinstance(value, Record) else items
    if isinstance(value, (list, tuple)):
        return type(value)([marked(item) for item in value])
    return value


def unmarked(value: Any) -> Any:
    """Reverses ``marked``."""
    if isinstance(value, dict):
        items = {name: unmarked(item) for name, item in value.items() if name != _CLASS}
        return Record(items, str(value[_CLASS])) if _CLASS in value else items
    if isinstance(value, list):
        return [unmarked(item) for item in value]
    return value
