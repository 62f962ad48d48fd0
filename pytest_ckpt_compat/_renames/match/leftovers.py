"""Matches units that changed their shape, and perhaps their name: mostly heads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_ckpt_compat._core.heads import is_head
from pytest_ckpt_compat._renames.units.paths import numbers, template
from pytest_ckpt_compat._renames.units.tokens import Names
from pytest_ckpt_compat._renames.units.units import MATRIX, Unit

#: Most pairs compared. More unmatched units than that are not the change of a head.
_MOST_PAIRS = 10_000

#: Least similarity of names for different shapes: by name alone, or in corresponding modules.
_ALIKE, _ALIKE_IN_MODULE = 0.75, 0.35


def resized(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Finds unmatched units of different size that are the same layer by name and position.

    Units with equal paths are not included: they need no guess.
    """
    matched_old, matched_new = {a for a, _ in believed}, {b for _, b in believed}
    paths_old, paths_new = {unit.path for unit in old}, {unit.path for unit in new}
    left_old = [
        index
        for index, unit in enumerate(old)
        if index not in matched_old and not unit.parts and unit.path not in paths_new
    ]
    left_new = [
        index
        for index, unit in enumerate(new)
        if index not in matched_new and not unit.parts and unit.path not in paths_old
    ]
    if len(left_old) * len(left_new) > _MOST_PAIRS or len(believed) * 2 < min(len(old), len(new)):
        return []
    names = Names([template(unit.path) for unit in old], [template(unit.path) for unit in new])
    homes = _homes(old, new, believed)
    possible = [(a, b) for a in left_old for b in left_new if _could_be(old[a], new[b])]
    ranked = sorted(
        ((names.similarity(template(old[a].path), template(new[b].path)), a, b) for a, b in possible),
        reverse=True,
    )
    found: dict[int, int] = {}
    for alike, a, b in ranked:
        if homes.get(_parent(old[a].path)) != _parent(new[b].path):
            doubtful = len(old[a].main.shape) < MATRIX or _is_renumbered(old[a].path, new[b].path)
            enough = math.inf if doubtful else _ALIKE
        else:
            enough = 0.0 if ends_model(old[a], old) and ends_model(new[b], new) else _ALIKE_IN_MODULE
        if alike >= enough and a not in found and b not in found.values():
            found[a] = b
    return sorted(found.items())


def grown(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Finds unmatched units that kept their name in the partner of their module, and changed one size."""
    matched_old, matched_new = {a for a, _ in believed}, {b for _, b in believed}
    left = [a for a in range(len(old)) if a not in matched_old]
    places = {unit.path: index for index, unit in enumerate(new) if index not in matched_new}
    if not left or not places:
        return []
    homes = _homes(old, new, believed)
    found = []
    for a in left:
        parent, _, name = old[a].path.rpartition(".")
        b = places.get(f"{homes[parent]}.{name}".lstrip(".")) if parent in homes else None
        if b is not None and _could_be(old[a], new[b]):
            found.append((a, b))
    return found


def ends_model(unit: Unit, units: Sequence[Unit]) -> bool:
    """Whether the unit is a head of the model that the units make up."""
    return is_head(unit.path, unit is units[-1], len(unit.main.shape))


def _is_renumbered(one: str, other: str) -> bool:
    """Whether two paths have as many numbers, and others."""
    ours, theirs = numbers(one), numbers(other)
    return len(ours) == len(theirs) and ours != theirs


def _could_be(a: Unit, b: Unit) -> bool:
    """Whether the units differ in a single size and hold tensors of the same roles."""
    ours, theirs = a.main.shape, b.main.shape
    return (
        a.copies == b.copies
        and len(ours) == len(theirs) > 0
        and sum(x != y for x, y in zip(ours, theirs, strict=True)) == 1
        and {tensor.role for tensor in a.tensors} == {tensor.role for tensor in b.tensors}
    )


def _homes(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> Mapping[str, str]:
    """Returns old module -> the new module of most of its units; the root stays the root.

    Those in modules inside count if these kept their names: ``a.h.0`` and ``b.h.0`` show that ``a`` is ``b``.
    """
    votes: dict[str, Counter[str]] = {}
    for a, b in believed:
        one, other = old[a].path, new[b].path
        inside = True
        while inside and one:
            one, other = _parent(one), _parent(other)
            votes.setdefault(one, Counter())[other] += 1
            inside = one.rpartition(".")[2] == other.rpartition(".")[2]
    return {**{module: counter.most_common(1)[0][0] for module, counter in votes.items()}, "": ""}


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
