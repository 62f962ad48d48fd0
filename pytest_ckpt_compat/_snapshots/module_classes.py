"""The classes of a definition's modules <-> a few lines: numbered modules that are alike share theirs.

``"blocks.{0..11}.norm": "torch.nn.LayerNorm"`` stands for twelve modules. Written out, the lines give
every module in the order of registration, each before those in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pytest_ckpt_compat._readers import limits

#: A number as Python prints it, of a size that is one.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_RANGE = re.compile(rf"\{{({_NUMBER.pattern})\.\.({_NUMBER.pattern})\}}")
#: A segment of a path: a range, or a name.
_SEGMENT = re.compile(rf"{_RANGE.pattern}(?![^.])|[^.]*")


@dataclass
class _Node:
    """A module, or a segment that only leads to some."""

    kind: str | None = None
    #: What is in it, by name or by range.
    inside: dict[str, _Node] = field(default_factory=dict)


def fold(modules: Mapping[str, str]) -> dict[str, str]:
    """Path -> class in few lines; none where lines cannot say it, as for a name with a dot in it.

    The outermost module comes last, though it is the first: so a module that is added at the end changes no
    line of another, which would have to get a comma, and git merges it with what is added before that one.

    Args:
        modules: path of each module, "" for the outermost -> its class.
    """
    try:
        tree = _tree((path.split(".") if path else [], kind) for path, kind in modules.items())
        same: dict[int, int] = {}
        _number_alike(tree, {}, same)
        lines = dict(_lines(tree, same, ""))
        if "" in lines:
            lines[""] = lines.pop("")
        return lines if list(unfold(lines).items()) == list(modules.items()) else {}
    except ValueError:
        return {}


def unfold(lines: Mapping[str, str]) -> dict[str, str]:
    """The inverse of ``fold``.

    Raises:
        ValueError: the lines name a module twice, or more than can be read.
    """
    tree = _tree((_segments(path), kind) for path, kind in lines.items())
    if _size(tree) > limits.KEYS:
        raise ValueError(f"it has more than {limits.KEYS:,} modules, the limit for reading it")
    found: dict[str, str] = {}
    characters = 0
    for path, kind in _modules(tree, ""):
        characters += len(path)
        if characters > limits.CHARACTERS:
            raise ValueError("the paths of its modules are too long, the limit for reading it")
        if path in found:
            raise ValueError(f'"modules" names {path[:100]!r} twice')
        found[path] = kind
    return found


def _tree(paths: Iterable[tuple[list[str], str]]) -> _Node:
    root = _Node()
    for segments, kind in paths:
        if len(segments) > limits.DEPTH:
            raise ValueError(f"its modules are nested deeper than {limits.DEPTH}, the limit for reading it")
        node = root
        for segment in segments:
            node = node.inside.setdefault(segment, _Node())
        node.kind = kind
    return root


def _segments(path: str) -> list[str]:
    """``blocks``, ``{0..11}`` and ``norm`` of ``blocks.{0..11}.norm``; none of the outermost module."""
    found: list[str] = []
    start = 0
    while path and start <= len(path):
        match = _SEGMENT.match(path, start)
        found.append(match[0] if match else "")
        start += len(found[-1]) + 1
    return found


def _numbers(segment: str) -> range | None:
    """The numbers of a range; None for a name. Raises ValueError for a range of nothing."""
    match = _RANGE.fullmatch(segment)
    if match is None:
        return None
    numbers = range(int(match[1]), int(match[2]) + 1)
    if not numbers:
        raise ValueError(f'"modules" has {segment}, in which there is no number')
    return numbers


def _size(node: _Node) -> int:
    """How many modules the lines of a subtree stand for."""
    inside = sum(len(_numbers(name) or "1") * _size(child) for name, child in node.inside.items())
    return inside + (node.kind is not None)


def _modules(node: _Node, path: str) -> Iterator[tuple[str, str]]:
    """Every module of a subtree with its class, each before those in it."""
    if node.kind is not None:
        yield path, node.kind
    around = f"{path}." if path else ""
    for segment, child in node.inside.items():
        numbers = _numbers(segment)
        for name in (segment,) if numbers is None else numbers:
            yield from _modules(child, f"{around}{name}")


def _number_alike(node: _Node, known: dict[object, int], same: dict[int, int]) -> int:
    """Gives equal subtrees equal numbers: ``same`` gets the number of each node, by its identity."""
    inside = tuple((name, _number_alike(child, known, same)) for name, child in node.inside.items())
    same[id(node)] = known.setdefault((node.kind, inside), len(known))
    return same[id(node)]


def _lines(node: _Node, same: Mapping[int, int], path: str) -> Iterator[tuple[str, str]]:
    """A line for each module, or for a run of numbered ones that are alike, each before those in it."""
    if node.kind is not None:
        yield path, node.kind
    around = f"{path}." if path else ""
    for names, child in _runs(node, same):
        name = names[0] if len(names) == 1 else f"{{{names[0]}..{names[-1]}}}"
        yield from _lines(child, same, f"{around}{name}")


def _runs(node: _Node, same: Mapping[int, int]) -> Iterator[tuple[list[str], _Node]]:
    """What is in a module, consecutive numbers with equal subtrees together."""
    names: list[str] = []
    first = node
    for name, child in node.inside.items():
        if names and _follows(names[-1], name) and same[id(child)] == same[id(first)]:
            names.append(name)
            continue
        if names:
            yield names, first
        names, first = [name], child
    if names:
        yield names, first


def _follows(before: str, name: str) -> bool:
    both = _NUMBER.fullmatch(before) and _NUMBER.fullmatch(name)
    return bool(both) and int(name) == int(before) + 1
