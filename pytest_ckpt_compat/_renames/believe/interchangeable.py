"""Finds units that only their order distinguishes from others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from itertools import combinations

from pytest_ckpt_compat._renames.believe.ranks import ranks, rise_together
from pytest_ckpt_compat._renames.units.paths import modules_of, template
from pytest_ckpt_compat._renames.units.tokens import Names
from pytest_ckpt_compat._renames.units.units import Unit

#: Names distinguish two pairs if they are this much more similar than with exchanged partners.
_CLEARLY_MORE = 0.05

#: Number of units of one kind above which all count as interchangeable, without comparing each two.
_MOST = 1_000


def interchangeable(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> set[int]:
    """Finds old units that could exchange partners with another: names and structure fit as well.

    An example is ``left -> alpha`` and ``right -> beta`` with equal content: only the order in the
    file supports this match. Numbered blocks (``blocks.{0..3} -> layers.{0..3}``) do not count: their
    index map decides.

    Args:
        old: units of the old side.
        new: units of the new side.
        believed: matches, as (index of an old unit, index of a new unit).

    Returns:
        The indexes of these old units.
    """
    names = Names([template(unit.path) for unit in old], [template(unit.path) for unit in new])
    ours, theirs = _contents(old), _contents(new)

    def alike(a: int, b: int) -> float:
        return names.similarity(template(old[a].path), template(new[b].path))

    def distinct(one: tuple[int, int], other: tuple[int, int]) -> bool:
        (a, b), (c, d) = one, other
        left, right = _divergence(old[a].path, old[c].path), _divergence(new[b].path, new[d].path)
        numbered = [template(m) == template(n) for m, n in (left, right)]
        if all(numbered) or ours[left[0]] != ours[left[1]] or theirs[right[0]] != theirs[right[1]]:
            return True
        if rise_together(ranks(left), ranks(right)):
            return True
        return alike(a, b) + alike(c, d) - alike(a, d) - alike(c, b) >= _CLEARLY_MORE

    found: set[int] = set()
    for pairs in _by_kind(old, believed).values():
        if len(pairs) > _MOST:
            found.update(a for a, _ in pairs)
            continue
        for one, other in combinations(pairs, 2):
            if not {one[0], other[0]} <= found and not distinct(one, other):
                found.update((one[0], other[0]))
    return found


def _by_kind(
    old: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> dict[Hashable, list[tuple[int, int]]]:
    kinds: defaultdict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for a, b in believed:
        shapes = tuple((tensor.role, tensor.spec.shape) for tensor in old[a].tensors)
        kinds[shapes, old[a].copies].append((a, b))
    return kinds


def _contents(units: Sequence[Unit]) -> dict[str, Counter[Hashable]]:
    """Counts the units in each module by shape and copies. A unit counts as a module of its own."""
    contents: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for unit in units:
        for module in (*modules_of(unit.path), unit.path):
            contents[module][unit.kind] += 1
    return contents


def _divergence(one: str, other: str) -> tuple[str, str]:
    """Returns where two paths diverge: ``a.left`` and ``a.right`` for ``a.left.x`` and ``a.right.x``."""
    ours, theirs = one.split("."), other.split(".")
    depth = next((i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y), 0)
    return ".".join(ours[: depth + 1]), ".".join(theirs[: depth + 1])
