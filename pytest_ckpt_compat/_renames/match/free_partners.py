"""Alternatives to a pair that take no partner from another: a node without one would take its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates
from pytest_ckpt_compat._renames.match.doubts import Doubt, Numbered
from pytest_ckpt_compat._renames.match.further_blocks import in_further_blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


def with_free_partners(
    pairs: Candidates,
    score: Floats,
    chosen: Ints,
    blocks: tuple[Sequence[str], Sequence[str]],
    doubts: Mapping[int, Doubt],
    costs: Iterator[Callable[[Ints], float]],
    numbered: Numbered,
) -> dict[int, Doubt]:
    """Adds the alternatives of pairs of which either node could take one of the other side that is free.

    A layer outside of numbered blocks takes none of a block that came or went as a whole, in a family of
    which others are matched. A layer that kept its number takes none of another number in its family.

    Args:
        pairs: all candidate pairs.
        score: the score of each, given the chosen ones.
        chosen: indexes of the chosen pairs.
        blocks: the outermost block around each old node, and each new one.
        doubts: the alternatives known so far.
        costs: what another choice costs, as often as it may be asked. It is where the scores prefer another
            one: a chosen pair is no evidence for itself, but for the one in its place.
        numbered: the numbers of the nodes.
    """
    import numpy as np

    free = _Free(pairs, chosen, blocks, numbered)
    result = dict(doubts)
    for part, height, width in pairs.classes:
        table = score[part].reshape(height, width)
        rows, cols = pairs.rows[part][::width], pairs.cols[part][:width]
        places = chosen[(chosen >= part.start) & (chosen < part.stop)] - part.start
        for row, col in zip(*(each.tolist() for each in np.divmod(places, width)), strict=True):
            old, new = int(rows[row]), int(cols[col])
            olds, news = free.beside(rows, 0, old, new), free.beside(cols, 1, old, new)
            if not len(olds) and not len(news):
                continue
            best = int(news[np.argmax(table[row, news])]) if len(news) else col
            other = int(olds[np.argmax(table[olds, col])]) if len(olds) else row
            rivals = ((row, best), (other, col))
            rival = max((each for each in rivals if each != (row, col)), key=lambda at: float(table[at]))
            cost = float(table[row, col] - table[rival])
            cost_of = next(costs, None) if cost < 0 else None
            if cost_of is not None:
                index, instead = (part.start + a * width + b for a, b in ((row, col), rival))
                cost = cost_of(np.where(chosen == index, instead, chosen))
            if old not in result or cost < result[old].cost:
                result[old] = Doubt(cost, int(cols[best]))
    return result


class _Free:
    """The nodes without a partner that could take one."""

    def __init__(
        self,
        pairs: Candidates,
        chosen: Ints,
        blocks: tuple[Sequence[str], Sequence[str]],
        numbered: Numbered,
    ) -> None:
        import numpy as np

        matched = set(pairs.rows[chosen].tolist()), set(pairs.cols[chosen].tolist())
        self._is_free = [
            np.array([index not in held for index in range(len(side))], dtype=np.bool_)
            for side, held in zip(blocks, matched, strict=True)
        ]
        self._is_further = [
            np.isin(np.arange(len(side)), list(in_further_blocks(side, held)))
            for side, held in zip(blocks, matched, strict=True)
        ]
        self._in_block = [[bool(block) for block in side] for side in blocks]
        self._numbered = numbered

    def beside(self, nodes: Ints, side: int, old: int, new: int) -> Ints:
        """Returns the places of those of one kind and side that could take the place of one of a pair."""
        import numpy as np

        found = self._is_free[side][nodes]
        if not (self._in_block[0][old] or self._in_block[1][new]):
            found &= ~self._is_further[side][nodes]
        found &= ~self._numbered.others(side, old, new, nodes)
        return np.flatnonzero(found)
