"""The cheapest alternatives to the pairs of an assignment."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.units.paths import blocks_around, numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Doubt:
    """The cheapest alternative for an old node.

    Attributes:
        cost: what it costs, in units of the objective.
        other: the new node of that alternative.
        nearer: whether the numbers in the two paths differ, and a free node of either side has those of the
            partner, and a name nearer to it.
    """

    cost: float
    other: int
    nearer: bool = False


def note(doubts: dict[int, Doubt], pairs: Candidates, chosen: Ints, changed: Ints, cost: float) -> None:
    """Updates the cheapest alternative of each old node whose partner changed."""
    for index in (chosen != changed).nonzero()[0].tolist():
        row, other = int(pairs.rows[chosen[index]]), int(pairs.cols[changed[index]])
        if row not in doubts or cost < doubts[row].cost:
            doubts[row] = Doubt(cost, other)


def with_free_partners(
    pairs: Candidates,
    score: Floats,
    names: Floats,
    chosen: Ints,
    sides: tuple[Sequence[Node], Sequence[Node]],
    doubts: Mapping[int, Doubt],
) -> dict[int, Doubt]:
    """Adds the alternatives of pairs of which either node could take one of the other side that is free.

    A layer outside of numbered blocks takes none of a block that came or went as a whole, in a family of
    which others are matched.
    """
    import numpy as np

    blocks = [[next(iter(blocks_around(node.path)), "") for node in side] for side in sides]
    matched = set(pairs.rows[chosen].tolist()), set(pairs.cols[chosen].tolist())
    further = [_in_free_blocks(*each) for each in zip(blocks, matched, strict=True)]
    result, nearer = dict(doubts), _outnamed(pairs, names, chosen, sides)
    for part, height, width in pairs.classes:
        rows, cols = pairs.rows[part][::width].tolist(), pairs.cols[part][:width].tolist()
        free_old = [place for place, row in enumerate(rows) if row not in matched[0]]
        free_new = [place for place, col in enumerate(cols) if col not in matched[1]]
        alone_old = [place for place in free_old if rows[place] not in further[0]]
        alone_new = [place for place in free_new if cols[place] not in further[1]]
        table = score[part].reshape(height, width)
        for index in chosen[(chosen >= part.start) & (chosen < part.stop)].tolist():
            row, col = divmod(index - part.start, width)
            lone = not (blocks[0][rows[row]] or blocks[1][cols[col]])
            olds, news = (alone_old, alone_new) if lone else (free_old, free_new)
            best = news[int(np.argmax(table[row, news]))] if news else col
            rivals = [*table[row, news].tolist(), *table[olds, col].tolist()]
            cost = float(table[row, col]) - max(rivals, default=-math.inf)
            old = rows[row]
            if old not in result or cost < result[old].cost:
                result[old] = Doubt(cost, cols[best])
            if (old, cols[col]) in nearer:
                result[old] = replace(result[old], nearer=True)
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


def _in_free_blocks(blocks: Sequence[str], matched: Set[int]) -> set[int]:
    """The nodes in blocks of which none is matched, of a family of which others are."""
    taken = {blocks[index] for index in matched}
    families = {block.rpartition(".")[0] for block in taken if block}
    return {
        index
        for index, block in enumerate(blocks)
        if block and block not in taken and block.rpartition(".")[0] in families
    }
