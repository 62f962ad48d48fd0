"""Nodes without a partner that have a nearer name to one of a pair, and the numbers of its partner."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.match.doubts import Doubt
from pytest_ckpt_compat._renames.units.paths import numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


def with_nearer_names(
    pairs: Candidates,
    names: Floats,
    chosen: Ints,
    sides: tuple[Sequence[Node], Sequence[Node]],
    doubts: Mapping[int, Doubt],
) -> dict[int, Doubt]:
    """Marks the doubts of pairs with other numbers of which a free node has those of the partner.

    Args:
        pairs: all candidate pairs.
        names: how similar the words of the two paths of each are.
        chosen: indexes of the chosen pairs.
        sides: the old nodes and the new ones.
        doubts: the cheapest alternatives known.
    """
    result = dict(doubts)
    for old, new in _outnamed(pairs, names, chosen, sides):
        result[old] = replace(result.get(old, Doubt(math.inf, new)), nearer=True)
    return result


def _outnamed(
    pairs: Candidates, names: Floats, chosen: Ints, sides: tuple[Sequence[Node], Sequence[Node]]
) -> set[tuple[int, int]]:
    """Finds the pairs with other numbers of which a free node has those of the partner, and a nearer name."""
    counts = [[numbers(node.path) for node in side] for side in sides]
    matched = list(zip(pairs.rows[chosen].tolist(), pairs.cols[chosen].tolist(), strict=True))
    taken = [set(side) for side in zip(*matched, strict=True)]
    renumbered = {(a, b) for a, b in matched if counts[0][a] != counts[1][b]}
    found: set[tuple[int, int]] = set()
    for part, height, width in pairs.classes if renumbered else ():
        members = pairs.rows[part][::width].tolist(), pairs.cols[part][:width].tolist()
        free: list[defaultdict[tuple[int, ...], list[int]]] = [defaultdict(list), defaultdict(list)]
        for side in (0, 1):
            for place, index in enumerate(members[side]):
                if index not in taken[side]:
                    free[side][counts[side][index]].append(place)
        alike = names[part].reshape(height, width)
        for index in chosen[(chosen >= part.start) & (chosen < part.stop)].tolist() if any(free) else ():
            row, col = divmod(index - part.start, width)
            old, new = members[0][row], members[1][col]
            olds, news = free[0].get(counts[1][new], ()), free[1].get(counts[0][old], ())
            rivals = [*(alike[place, col] for place in olds), *(alike[row, place] for place in news)]
            if (old, new) in renumbered and max(rivals, default=0.0) > alike[row, col]:
                found.add((old, new))
    return found
