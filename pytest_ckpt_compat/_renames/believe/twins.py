"""Units that nothing but their order tells from others like them."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from itertools import combinations

from pytest_ckpt_compat._renames.units.blocks import modules_of
from pytest_ckpt_compat._renames.units.tokens import Names, template
from pytest_ckpt_compat._renames.units.units import Unit, shape_class

#: Names tell two pairs apart if they are by this much more alike than with the partners exchanged.
_TELLING = 0.05

#: Words that say which of two a module is, the earlier first.
_ORDINALS = (
    frozenset({"before", "pre", "first", "in", "input"}),
    frozenset({"after", "post", "second", "last", "final", "out", "output"}),
)
_DIGITS = re.compile(r"\d{1,9}$")

#: Of one kind, units beyond this number are taken for untold without a look at each two.
_MOST = 1_000


def twins(old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]) -> set[int]:
    """Old units whose match would be as good by name and structure with that of another exchanged.

    ``left -> alpha`` beside ``right -> beta``, where both hold the same: the order of the file speaks
    for it, and nothing else. What an index map explains (``blocks.{0..3} -> layers.{0..3}``) is
    judged by that map.

    Args:
        old: units of the old side.
        new: units of the new side.
        believed: matches, as index of an old and of a new unit.
    """
    names = Names([template(unit.path) for unit in old], [template(unit.path) for unit in new])
    ours, theirs = _contents(old), _contents(new)

    def alike(a: int, b: int) -> float:
        return names.similarity(template(old[a].path), template(new[b].path))

    def told(one: tuple[int, int], other: tuple[int, int]) -> bool:
        (a, b), (c, d) = one, other
        left, right = _parting(old[a].path, old[c].path), _parting(new[b].path, new[d].path)
        numbered = [template(m) == template(n) for m, n in (left, right)]
        if all(numbered) or ours[left[0]] != ours[left[1]] or theirs[right[0]] != theirs[right[1]]:
            return True
        ranks = [(_rank(m), _rank(n)) for m, n in (left, right)]
        if all(m < n for m, n in ranks) or all(m > n for m, n in ranks):
            return True
        return alike(a, b) + alike(c, d) - alike(a, d) - alike(c, b) >= _TELLING

    found: set[int] = set()
    for pairs in _by_kind(old, believed).values():
        if len(pairs) > _MOST:
            found.update(a for a, _ in pairs)
            continue
        for one, other in combinations(pairs, 2):
            if not {one[0], other[0]} <= found and not told(one, other):
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
    """What each module holds, a unit by itself included."""
    contents: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for unit in units:
        for module in (*modules_of(unit.path), unit.path):
            contents[module][shape_class(unit.main), unit.copies] += 1
    return contents


def _rank(module: str) -> float:
    """Which of several it says it is: ``norm2`` and ``norm_after`` come after ``norm1`` and ``pre_norm``."""
    name = module.rpartition(".")[2]
    digits = _DIGITS.search(name)
    ranks = [rank for rank, words in enumerate(_ORDINALS) if not words.isdisjoint(name.split("_"))]
    return float(digits[0]) if digits else float(ranks[0]) if len(ranks) == 1 else math.nan


def _parting(one: str, other: str) -> tuple[str, str]:
    """The modules, or units, at which two paths part: ``a.left`` and ``a.right`` of ``a.left.x``."""
    ours, theirs = one.split("."), other.split(".")
    depth = next((i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y), 0)
    return ".".join(ours[: depth + 1]), ".".join(theirs[: depth + 1])
