"""How much of the part around a match is explained.

A model can be renamed in one part and replaced in another. What is left over elsewhere says little of a part
in which the changed layers have their partners, if the part is rich: a few kinds of layers agree by accident,
as in two transformers of one width. Layers left over on one side of it were added or removed, unless they are
many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import product

from pytest_ckpt_compat._renames.units.paths import around
from pytest_ckpt_compat._renames.units.units import Unit

#: Number of kinds of layers from which on a part is rich.
RICH = 6

#: Least matched share of the side that has more layers, for those left over on it alone to say little.
NEARLY_ALL = 0.8

#: A module on each side; "" is the whole model.
_Part = tuple[str, str]


def explained_parts(
    old: Sequence[Unit],
    new: Sequence[Unit],
    moved: Sequence[tuple[int, int]],
    counted: tuple[Collection[int], Collection[int]],
) -> dict[tuple[int, int], float]:
    """Returns, for each match, the largest matched share of a rich part around it; 0 if there is none.

    Args:
        old: units of the old side.
        new: units of the new side.
        moved: the matches that are not the same on both sides.
        counted: the changed units of each side.
    """
    if len({old[a].kind for a, _ in moved}) < RICH:
        return dict.fromkeys(moved, 0.0)
    ours, theirs = _held(old, counted[0]), _held(new, counted[1])
    before = _distinct(old, {a for a, _ in moved}, ours)
    after = _distinct(new, {b for _, b in moved}, theirs)
    matched: Counter[_Part] = Counter()
    kinds: defaultdict[_Part, set[Hashable]] = defaultdict(set)
    for a, b in moved:
        for part in product(before[a], after[b]):
            matched[part] += 1
            if len(kinds[part]) < RICH:
                kinds[part].add(old[a].kind)
    shares = {
        (one, other): _share(number, ours[one], theirs[other])
        for (one, other), number in matched.items()
        if len(kinds[one, other]) == RICH
    }
    return {
        (a, b): max((shares.get(part, 0.0) for part in product(before[a], after[b])), default=0.0)
        for a, b in moved
    }


def _share(matched: int, ours: int, theirs: int) -> float:
    fewer, more = (min(matched / max(size, 1), 1.0) for size in sorted((ours, theirs)))
    return fewer if more >= NEARLY_ALL else more


def _distinct(units: Sequence[Unit], moved: Collection[int], held: Mapping[str, int]) -> dict[int, list[str]]:
    """Returns the modules around each moved unit, without those that hold what the next one inside holds.

    Names can be deep, and the pairs of modules are as many as the square of that. Modules lie in one another:
    two that hold equally many hold the same.
    """
    also = _held(units, moved)
    return {index: _outermost(around(units[index].path), held, also) for index in moved}


def _outermost(modules: Sequence[str], held: Mapping[str, int], also: Mapping[str, int]) -> list[str]:
    first = {(held.get(module, 0), also[module]): module for module in reversed(modules)}
    return list(first.values())


def _held(units: Sequence[Unit], counted: Collection[int]) -> Counter[str]:
    """Counts the given units in each module."""
    return Counter(module for index in counted for module in set(around(units[index].path)))
