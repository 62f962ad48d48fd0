"""Arguments of a constructor that would explain why a checkpoint has other sizes, more layers or fewer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_ckpt_compat._check import attention
from pytest_ckpt_compat._check.layer_sizes import group_sizes
from pytest_ckpt_compat._check.sizes import pairs
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.heads import WORD
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import is_module, parameters

#: Most trials: each is a build of the model, without weights.
_MOST = 5
#: A switch for the second direction of a recurrent layer: ``bi``, ``bidirectional``, ``use_both_directions``.
_DIRECTIONS = re.compile(r"(^|_)bi(?!as|lin)|direction", re.IGNORECASE)


def proposals(
    changes: Sequence[Change], old: Structure, new: Structure, definition: Definition
) -> Iterator[Mapping[str, Any]]:
    """Arguments to try, the likeliest first: all numbers, all switches, both, and each alone.

    A number is tried where it is a size of the definition that the checkpoint has otherwise, or a number of
    layers; a switch, where its name is in a key that one side lacks.
    """
    if is_module(definition.target):
        return
    given = {
        name: definition.kwargs.get(name, each.default)
        for name, each in parameters(definition.target).items()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    numbers, switches = _numbers(given, changes, old, new), _switches(given, changes)
    both = {**numbers, **switches}
    tried: list[Mapping[str, Any]] = []
    for each in (numbers, switches, both, *({name: value} for name, value in both.items())):
        if each and each not in tried and len(tried) < _MOST:
            tried.append(each)
    yield from tried


def written(arguments: Mapping[str, Any]) -> str:
    """``width=64 and classes=2``."""
    return " and ".join(f"{name}={value!r}" for name, value in arguments.items())


def _numbers(
    given: Mapping[str, Any], changes: Sequence[Change], old: Structure, new: Structure
) -> dict[str, Any]:
    resized = [each for each in changes if each.kind in ("resized", "head-resized")]
    sizes = {pair for each in resized for pair in pairs(each)} | set(_lengths(changes, old, new))
    sizes |= {*attention.sizes(old, new), *group_sizes(resized, new)}
    found = {}
    for name, value in given.items():
        befores = {a for a, b in sizes if b == value} if type(value) is int else set()
        if len(befores) == 1:
            found[name] = befores.pop()
    return found


def _lengths(changes: Sequence[Change], old: Structure, new: Structure) -> Iterator[tuple[int, int]]:
    """The (old, new) numbers of layers in a list of layers where one side has more."""
    keys = {key for each in changes for key in (*each.old, *each.new)}
    for path in {parent for key in keys for parent in _lists(key)}:
        before, after = (_length(path, side) for side in (old, new))
        if before and after and before != after:
            yield before, after


def _lists(key: str) -> Iterator[str]:
    """The paths in a key whose next segment is a number."""
    parts = key.split(".")
    yield from (".".join(parts[:n]) for n in range(1, len(parts)) if parts[n].isdecimal())


def _length(path: str, structure: Structure) -> int:
    below = f"{path}."
    numbers = {key[len(below) :].partition(".")[0] for key in structure.tensors if key.startswith(below)}
    return len([each for each in numbers if each.isdecimal()])


def _switches(given: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    keys = [
        key for each in changes if each.kind in ("missing", "unexpected") for key in (*each.old, *each.new)
    ]
    words = {word.lower() for key in keys for segment in key.split(".") for word in WORD.findall(segment)}
    segments = {segment for key in keys for segment in key.split(".")}
    reverse = any(key.endswith("_reverse") for key in keys)
    return {
        name: not value
        for name, value in given.items()
        if isinstance(value, bool)
        and (name in segments or _words(name) & words or (reverse and _DIRECTIONS.search(name)))
    }


def _words(name: str) -> set[str]:
    """The words of a switch's name that say what it switches."""
    return {word.lower() for word in WORD.findall(name)} - {"use", "with", "has", "add", "is", "no", "enable"}
