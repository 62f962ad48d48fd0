"""The cheapest alternatives to the pairs of an assignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Numbered:
    """The numbers in the paths of the nodes, and the families that differ in nothing else.

    Attributes:
        families: for each node of either side, the number of its family.
        counts: likewise, which numbers it has in its path, equal for equal ones of both sides.
        moved: the families, old and new, of which some have other numbers.
    """

    families: tuple[Ints, Ints]
    counts: tuple[Ints, Ints]
    moved: frozenset[tuple[int, int]] = frozenset()

    @classmethod
    def of(cls, old: Sequence[Node], new: Sequence[Node]) -> Numbered:
        """Reads the paths of both sides."""
        families = (coded(template(node.path) for node in side)[1] for side in (old, new))
        counts = coded(numbers(node.path) for node in (*old, *new))[1]
        return cls((next(families), next(families)), (counts[: len(old)], counts[len(old) :]))

    def among(self, pairs: Candidates, chosen: Ints) -> Numbered:
        """Returns the same, given the chosen pairs: families do not keep numbers if some have others."""
        rows, cols = pairs.rows[chosen], pairs.cols[chosen]
        moved = self.counts[0][rows] != self.counts[1][cols]
        families = self.families[0][rows[moved]].tolist(), self.families[1][cols[moved]].tolist()
        return replace(self, moved=frozenset(zip(*families, strict=True)))

    def others(self, side: int, old: int, new: int, nodes: Ints | int) -> Bools:
        """Whether nodes of a side are in the family of that of a pair, if it kept its number.

        A numbered family keeps its numbers: one with another number is no alternative. It is one where others
        of the family moved on: nobody can say which of two equal ones was put in front of them.
        """
        own = (old, new)[side]
        family, count = self.families[side], self.counts[side]
        moved = (int(self.families[0][old]), int(self.families[1][new])) in self.moved
        kept = self.counts[0][old] == self.counts[1][new] and not moved
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
