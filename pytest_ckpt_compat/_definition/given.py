"""The arguments that a constructor gets: its own, which it may change."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import types
from collections.abc import Mapping
from typing import Any


def own_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of which a constructor may change each collection, as with ``config.pop("width")``.

    Lists, sets, dictionaries of any class, dataclasses and namespaces are new, and so is what is in them;
    one that is at several places still is. Everything else is the same object: code may ask which it is.
    """
    seen: dict[int, Any] = {}
    return {name: _own(value, seen) for name, value in kwargs.items()}


def _own(value: Any, seen: dict[int, Any]) -> Any:
    if id(value) in seen:
        return seen[id(value)]
    if type(value) is tuple:
        parts = tuple(_own(each, seen) for each in value)
        return parts if any(one is not other for one, other in zip(parts, value, strict=True)) else value
    if type(value) is set:
        return seen.setdefault(id(value), set(value))
    if type(value) is list:
        seen[id(value)] = new = []
        new += [_own(each, seen) for each in value]
        return new
    if isinstance(value, (dict, argparse.Namespace, types.SimpleNamespace)) or _is_dataclass_alone(value):
        return _copied(value, seen)
    return value


def _is_dataclass_alone(value: Any) -> bool:
    """Whether a value is an instance of a dataclass that is no other kind, as a module would be."""
    made = dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__")
    return made and all(dataclasses.is_dataclass(each) or each is object for each in type(value).__mro__)


def _copied(value: Any, seen: dict[int, Any]) -> Any:
    """A copy of an object with what it holds as items and attributes; itself where its class gives none."""
    try:
        new = copy.copy(value)
    except Exception:
        return value
    if type(new) is not type(value):
        return value
    seen[id(value)] = new
    for key, each in dict.items(value) if isinstance(value, dict) else ():
        dict.__setitem__(new, key, _own(each, seen))
    for name, each in vars(value).items() if hasattr(value, "__dict__") else ():
        vars(new)[name] = _own(each, seen)
    return new
