"""Blocks that came or went as a whole, of a family of which others are matched."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.units.paths import blocks_around

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


def outermost_blocks(nodes: Sequence[Node]) -> list[str]:
    """The outermost numbered block around each node; "" outside of blocks."""
    return [next(iter(blocks_around(node.path)), "") for node in nodes]


def in_further_blocks(blocks: Sequence[str], matched: Set[int]) -> set[int]:
    """The nodes in blocks of which none is matched, of a family of which others are."""
    taken = {blocks[index] for index in matched}
    families = {block.rpartition(".")[0] for block in taken if block}
    return {
        index
        for index, block in enumerate(blocks)
        if block and block not in taken and block.rpartition(".")[0] in families
    }


def out_of_further_blocks(
    pairs: Candidates,
    score: Floats,
    chosen: Ints,
    sides: tuple[Sequence[Node], Sequence[Node]],
    blocks: tuple[Sequence[str], Sequence[str]],
) -> Ints:
    """Returns the chosen pairs; no layer outside of blocks takes one of a further block, if another is free.

    What is in such a block came there with the rest of it. A layer that is where it was, in another size,
    takes none at all.

    Args:
        pairs: all candidate pairs.
        score: the score of each.
        chosen: indexes of the chosen pairs.
        sides: the old nodes and the new ones.
        blocks: the outermost block around each of them.
    """
    import numpy as np

    rows, cols = pairs.rows[chosen].tolist(), pairs.cols[chosen].tolist()
    both = list(zip(rows, cols, strict=True))
    inside = [(a, b) for a, b in both if blocks[0][a] and blocks[1][b]]
    further = [in_further_blocks(blocks[side], {pair[side] for pair in inside}) for side in (0, 1)]
    free = [
        np.array([not block and index not in held for index, block in enumerate(side)], dtype=np.bool_)
        for side, held in zip(blocks, (set(rows), set(cols)), strict=True)
    ]
    stayed = [{node.path for node in side} for side in sides]
    result = chosen.copy()
    for place, (a, b) in enumerate(both):
        goes, comes = a in further[0] and not blocks[1][b], b in further[1] and not blocks[0][a]
        if not goes and not comes:
            continue
        part, _, width = next(each for each in pairs.classes if each[0].start <= chosen[place] < each[0].stop)
        row, col = divmod(int(chosen[place]) - part.start, width)
        table = np.arange(part.start, part.stop).reshape(-1, width)
        line = table[row] if comes else table[:, col]
        others = line[free[1][pairs.cols[line]] if comes else free[0][pairs.rows[line]]]
        if len(others):
            best = int(others[np.argmax(score[others])])
            result[place] = best
            free[0][pairs.rows[best]] = free[1][pairs.cols[best]] = False
        elif (sides[0][a].path in stayed[1]) if comes else (sides[1][b].path in stayed[0]):
            result[place] = -1
    return result[result >= 0] if (result != chosen).any() else chosen
