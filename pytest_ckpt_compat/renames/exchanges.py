"""Other ways to match than the one found: two nodes exchanged, alone or everywhere; a block moved as a whole.

One that the objective likes better is taken; one that it hardly minds shows what the lists cannot
decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_ckpt_compat.renames.candidates import Candidates, Node
from pytest_ckpt_compat.renames.tokens import template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: Of the pairs that compete with one, how many of the closest are looked at.
_RIVALS = 3

#: A rival whose exchange costs more than this by itself is not looked at.
_FAR = 2.5

#: New partners of old nodes.
Move = dict[int, int]


class Exchanger:
    """Finds alternatives to an assignment of old nodes to new ones."""

    def __init__(self, old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> None:
        self._old = old
        self._pairs = pairs
        self._paths = {node.path: place for place, node in enumerate(old)}
        self._sides = _Modules(old), _Modules(new)
        self._starts: dict[Hashable, tuple[int, int]] = {}
        self._rows: dict[int, int] = {}
        self._cols: dict[int, int] = {}
        for part, height, width in pairs.classes:
            self._starts[old[int(pairs.rows[part.start])].kind] = part.start, width
            self._rows.update(zip(pairs.rows[part][::width].tolist(), range(height), strict=True))
            self._cols.update(zip(pairs.cols[part][:width].tolist(), range(width), strict=True))

    def rivals(self, score: Floats, chosen: Ints) -> Iterator[tuple[int, int, float]]:
        """Chosen pairs that could exchange partners, the closest of each, and what it costs by itself."""
        import numpy as np

        for part, height, width in self._pairs.classes:
            mine = chosen[(chosen >= part.start) & (chosen < part.stop)]
            if len(mine) < 2:
                continue
            table = score[part].reshape(height, width)
            rows, cols = np.divmod(mine - part.start, width)
            kept, crossed = table[rows, cols], table[np.ix_(rows, cols)]
            cost = kept[:, None] + kept[None, :] - crossed - crossed.T
            np.fill_diagonal(cost, np.inf)
            for one, others in enumerate(np.argsort(cost, axis=1)[:, :_RIVALS]):
                for other in others:
                    if cost[one, other] < _FAR:
                        yield int(mine[one]), int(mine[other]), float(cost[one, other])

    def moves(self, score: Floats, chosen: Ints, one: int, other: int) -> Iterator[Move]:
        """Ways to give the old node of ``one`` the partner that ``other`` has."""
        partners = self.partners(chosen)
        u, rival = int(self._pairs.rows[one]), int(self._pairs.rows[other])
        yield _exchange(partners, [(u, rival)])
        everywhere = [(a, b) for a, b in self._everywhere(u, rival) if a in partners and b in partners]
        if len(everywhere) > 1:
            yield _exchange(partners, everywhere)
        ours, theirs = self._sides
        for module in self._old[u].modules:
            for target in theirs.around(partners[rival]):
                if ours.content(module) == theirs.content(target):
                    yield self._moved(partners, score, module, target)

    def partners(self, chosen: Ints) -> Move:
        """Old node -> new node."""
        return dict(zip(self._pairs.rows[chosen].tolist(), self._pairs.cols[chosen].tolist(), strict=True))

    def apply(self, chosen: Ints, move: Move) -> Ints:
        """The chosen pairs after a move."""
        rows = self._pairs.rows[chosen].tolist()
        result = chosen.copy()
        for place, row in enumerate(rows):
            if row in move:
                result[place] = self._pair(row, move[row])
        return result

    def _pair(self, row: int, col: int) -> int:
        start, width = self._starts[self._old[row].kind]
        return start + self._rows[row] * width + self._cols[col]

    def _moved(self, partners: Move, score: Floats, module: str, target: str) -> Move:
        """All nodes of ``module`` matched into ``target``; those that were, take what becomes free."""
        import numpy as np
        from scipy.optimize import linear_sum_assignment

        ours, theirs = self._sides
        after = dict(partners)
        holders = {new: old for old, new in partners.items()}
        for kind, rows in ours.by_kind(module).items():
            cols = theirs.by_kind(target)[kind]
            if kind not in self._starts or any(row not in partners for row in rows):
                continue
            table = np.array([[score[self._pair(row, col)] for col in cols] for row in rows])
            for i, j in zip(*linear_sum_assignment(table, maximize=True), strict=True):
                row, col = rows[int(i)], cols[int(j)]
                freed, holder = after[row], holders.get(col)
                after[row] = col
                holders[col] = row
                if holder is not None and holder != row:
                    after[holder] = freed
                    holders[freed] = holder
        return {old: new for old, new in after.items() if partners[old] != new}

    def _everywhere(self, a: int, b: int) -> Iterator[tuple[int, int]]:
        """All pairs of old nodes that differ as these two do, in the other blocks of their family."""
        one, other = self._old[a].path.split("."), self._old[b].path.split(".")
        shared = 0
        while shared < min(len(one), len(other)) - 1 and one[shared] == other[shared]:
            shared += 1
        family, ending, counterpart = template(".".join(one[:shared])), one[shared:], other[shared:]
        for place, node in enumerate(self._old):
            segments = node.path.split(".")
            before = segments[: len(segments) - len(ending)]
            if segments[len(before) :] == ending and template(".".join(before)) == family:
                twin = self._paths.get(".".join([*before, *counterpart]))
                if twin is not None and self._old[twin].kind == node.kind:
                    yield place, twin


def _exchange(partners: Move, swaps: list[tuple[int, int]]) -> Move:
    move: Move = {}
    for a, b in swaps:
        move[a], move[b] = partners[b], partners[a]
    return move


class _Modules:
    """The nodes inside each module of one side."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._inside: defaultdict[str, dict[Hashable, list[int]]] = defaultdict(dict)
        for place, node in enumerate(nodes):
            for module in node.modules:
                self._inside[module].setdefault(node.kind, []).append(place)

    def around(self, place: int) -> list[str]:
        return self._nodes[place].modules

    def by_kind(self, module: str) -> dict[Hashable, list[int]]:
        return self._inside[module]

    def content(self, module: str) -> dict[Hashable, int]:
        return {kind: len(places) for kind, places in self._inside[module].items()}
