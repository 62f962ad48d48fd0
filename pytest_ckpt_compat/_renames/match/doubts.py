"""The cheapest alternatives to the pairs of an assignment."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
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
        self._moved: set[tuple[int, int]] = set()

    def among(self, pairs: Candidates, chosen: Ints) -> Numbered:
        """Returns the same, given the chosen pairs: families do not keep numbers if some have others."""
        rows, cols = pairs.rows[chosen], pairs.cols[chosen]
        moved = self._numbers[0][rows] != self._numbers[1][cols]
        families = self._families[0][rows[moved]].tolist(), self._families[1][cols[moved]].tolist()
        result = copy(self)
        result._moved = set(zip(*families, strict=True))
        return result

    def others(self, side: int, old: int, new: int, nodes: Ints | int) -> Bools:
        """Whether nodes of a side are in the family of that of a pair, if it kept its number.

        A numbered family keeps its numbers: one with another number is no alternative. It is one where others
        of the family moved on: nobody can say which of two equal ones was put in front of them.
        """
        own = (old, new)[side]
        family, count = self._families[side], self._numbers[side]
        moved = (int(self._families[0][old]), int(self._families[1][new])) in self._moved
        kept = self._numbers[0][old] == self._numbers[1][new] and not moved
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
