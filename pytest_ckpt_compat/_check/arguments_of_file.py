"""Arguments of a constructor that a file has beside its weights, as training code keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import is_module, parameters

#: How far below the top of the file, and how many of its mappings that fit, are tried.
_DEEPEST = 2
_MOST = 3
_PLAIN = (bool, int, float, str, type(None))


def of_file(structure: Structure, definition: Definition) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Arguments that a mapping in the file gives and the model is not built with, and the mapping's place.

    Only plain values under the names of parameters count.
    """
    if is_module(definition.target):
        return
    given = {
        name: definition.kwargs.get(name, each.default)
        for name, each in parameters(definition.target).items()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    tried: list[Mapping[str, Any]] = []
    for place, values in _mappings(structure.values, "", _DEEPEST):
        found = {n: v for n, v in values.items() if n in given and _is_plain(v) and v != given[n]}
        if found and found not in tried and len(tried) < _MOST:
            tried.append(found)
            yield found, place


def _mappings(values: Mapping[Any, Any], place: str, depth: int) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The mappings below a place, and those in them."""
    for key, value in values.items():
        if isinstance(key, str) and isinstance(value, Mapping):
            yield f"{place}{key}", value
            if depth > 1:
                yield from _mappings(value, f"{place}{key}.", depth - 1)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)
