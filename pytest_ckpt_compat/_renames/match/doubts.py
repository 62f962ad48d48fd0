"""The cheapest alternatives to the pairs of an assignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.match.groups import coded
from pytest_ckpt_compat._renames.units.paths import numbers, template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Doubt:
    """The cheapest alternative for an old node.

    Attributes:
        cost: what it costs, in units of the objective.
        other: the new node of that alternative.
    """

    cost: float
    other: int


class Numbered:
    """The numbers in the paths of the nodes, and the families that differ in nothing else."""

    def __init__(self, sides: tuple[Sequence[Node], Sequence[Node]]) -> None:
        paths = [[node.path for node in side] for side in sides]
        self._families = [coded(map(template, side))[1] for side in paths]
        counted = coded(numbers(path) for side in paths for path in side)[1]
        self._numbers = counted[: len(paths[0])], counted[len(paths[0]) :]

    def others(self, side: int, old: int, new: int, nodes: Ints | int) -> Bools:
        """Whether nodes of a side are in the family of that of a pair, if it kept its number.

        A numbered family keeps its numbers: one with another number is no alternative.
        """
        own = (old, new)[side]
        family, count = self._families[side], self._numbers[side]
        kept = self._numbers[0][old] == self._numbers[1][new]
        others: Bools = (family[nodes] == family[own]) & (count[nodes] != count[own]) & kept
        return others


def note(
    doubts: dict[int, Doubt], pairs: Candidates, chosen: Ints, changed: Ints, cost: float, numbered: Numbered
) -> None:
    """Updates the cheapest alternative of each old node whose partner changed."""
    for index in (chosen != changed).nonzero()[0].tolist():
        row, col, other = (
            int(each)
            for each in (pairs.rows[chosen[index]], pairs.cols[chosen[index]], pairs.cols[changed[index]])
        )
        if (row not in doubts or cost < doubts[row].cost) and not numbered.others(1, row, col, other):
            doubts[row] = Doubt(cost, other)
