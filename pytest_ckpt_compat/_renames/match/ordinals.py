"""Evidence from names that state an order: ``norm1`` and ``norm2``, ``norm_before`` and ``norm_after``.

A list of keys may have lost the order of the model, but names that count keep a part of it: what comes
first by its name comes first on the other side, by its name or by its place there.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.units.paths import blocks_around, is_number, modules_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

_DIGITS = re.compile(r"\d{1,9}")

#: Words for the first and for the second of two layers.
ORDINALS = (
    frozenset({"before", "pre", "first", "in", "input"}),
    frozenset({"after", "post", "second", "last", "final", "out", "output"}),
)

#: Letters that count, as those of ``conv_a`` and ``conv_b``.
LETTERS = ("a", "b", "c", "d", "e")

#: The same in a block, where attention comes before the mlp.
_FIRST = ORDINALS[0] | {"attn", "attention", "self"}
_SECOND = ORDINALS[1] | {"mlp", "ffn", "ff", "feedforward"}

_AFTER_ATTENTION = frozenset(
    {("post", "attention"), ("post", "attn"), ("after", "attention"), ("after", "attn")}
)

#: Number of pairs that are compared at once, so that what is known of each stays small.
_AT_ONCE = 1 << 16

#: Most families of one node that are looked at: one for each segment of its path that counts.
_MOST = 3


def stated_ranks(name: str) -> Iterator[tuple[str, int]]:
    """Yields the ranks that a segment of a path states, each with what it counts.

    ``norm2`` states rank 2 among ``norm#``, ``3`` among ``#``, and ``norm_after`` rank 1 among the names
    with such words; ``conv_b`` rank 1 among ``conv_a``, ``conv_b`` and so on.
    """
    digits = _DIGITS.findall(name)
    if digits:
        yield _DIGITS.sub("#", name), int(digits[-1])
        return
    words = name.lower().split("_")
    if words[-1] in LETTERS:
        yield "_".join((*words[:-1], "a")), LETTERS.index(words[-1])
        return
    after_attention = any(pair in _AFTER_ATTENTION for pair in pairwise(words))
    first, second = not _FIRST.isdisjoint(words), not _SECOND.isdisjoint(words)
    if after_attention or first != second:
        yield "", int(second)


class Ordinals:
    """Compares the orders that the names and the places of two sides state."""

    def __init__(
        self, old: Sequence[Node], new: Sequence[Node], pairs: Candidates, ordered: tuple[bool, bool]
    ) -> None:
        self._pairs = pairs
        self._sides = _Side(old, ordered[0]), _Side(new, ordered[1])

    def agreement(self, chosen: Ints, at: Ints | slice = slice(None)) -> Floats:
        """Returns, for each of the pairs ``at``, from -1 to 1 how the orders around it agree.

        Compared are the partners of the nodes that come next before and after either node by name.
        """
        import numpy as np

        nodes = self._pairs.rows[at], self._pairs.cols[at]
        number = len(nodes[0])
        agreeing, known = np.zeros(number), np.zeros(number)
        for here, there in ((0, 1), (1, 0)):
            if self._sides[here].counts:
                beside = self._partners_beside(here, chosen)
                for start in range(0, number, _AT_ONCE):
                    part = slice(start, start + _AT_ONCE)
                    sign = self._order(here, beside, nodes[here][part], nodes[there][part])
                    agreeing[part] += sign.sum(axis=1)
                    known[part] += np.abs(sign).sum(axis=1)
        share: Floats = agreeing / np.maximum(known, 1)
        return share

    def _partners_beside(self, here: int, chosen: Ints) -> Ints:
        """Returns the partners of the nodes that come next to each node of a side by name; -1 for none."""
        import numpy as np

        side, ends = self._sides[here], (self._pairs.rows, self._pairs.cols)
        partner = np.full(len(side) + 1, -1, dtype=np.intp)
        partner[ends[here][chosen]] = ends[1 - here][chosen]
        return partner.take(side.beside)

    def _order(self, here: int, beside: Ints, node: Ints, counterpart: Ints) -> Ints:
        """Returns 1 where the partner of what is beside a node stands likewise to its own, -1 where not."""
        side, other = self._sides[here], self._sides[1 - here]
        before, after = beside.take(node, axis=0), counterpart[:, None]
        sign: Ints = other.relation(before, after) * side.steps
        sign *= (before >= 0) & (before != after)
        if other.has_blocks:
            sign *= other.together(before, after, side.around.take(node, axis=0))
        return sign

    def out_of_step(self, chosen: Ints) -> list[tuple[int, int]]:
        """Returns pairs of old nodes that come one after the other by name, and whose partners do not."""
        import numpy as np

        rows, cols = self._pairs.rows[chosen], self._pairs.cols[chosen]
        ours, theirs = self._sides
        partner = np.full(len(ours) + 1, -1, dtype=np.intp)
        partner[rows] = cols
        found: list[tuple[int, int]] = []
        for column in range(ours.before.shape[1]):
            before = ours.before[rows, column]
            together = theirs.together(partner[before], cols, ours.levels[rows, column])
            wrong = (partner[before] >= 0) & (theirs.relation(partner[before], cols) < 0) & together
            found += zip(before[wrong].tolist(), rows[wrong].tolist(), strict=True)
        return found


class _Side:
    """The nodes of one side: which come next by name, and which of two comes first.

    Attributes:
        before: node, family -> the node of the next lower rank, or -1.
        levels: node, family -> how many numbered blocks are around the family.
        beside: node, family twice -> the node of the next lower rank, then that of the next higher one.
        steps: family twice -> 1 for the lower ranks, -1 for the higher ones.
        around: node, family twice -> ``levels``.
        counts: whether any name states a rank.
        has_blocks: whether any node is in a numbered block.
    """

    def __init__(self, nodes: Sequence[Node], ordered: bool) -> None:
        import numpy as np

        self._ordered = ordered
        self._number = len(nodes)
        contents = _contents(nodes)
        families: defaultdict[tuple[object, ...], list[tuple[int, int, object]]] = defaultdict(list)
        for index, node in enumerate(nodes):
            segments = node.path.split(".")
            for depth, segment in enumerate(segments):
                for skeleton, rank in stated_ranks(segment):
                    here, rest = ".".join(segments[: depth + 1]), ".".join(segments[depth + 1 :])
                    # Blocks alike may run backwards: the index maps know about them.
                    block = contents[here] if rest and is_number(segment) else None
                    families[".".join(segments[:depth]), skeleton, rest, node.kind].append(
                        (rank, index, block)
                    )
        self.before, after, self._family, self._rank, self.levels = (
            np.full((len(nodes) + 1, _MOST), -1, dtype=np.intp) for _ in range(5)
        )
        self._blocks = _blocks(nodes)
        self.has_blocks = self._blocks.shape[1] > 1
        used = [0] * len(nodes)
        for number, ((parent, *_), members) in enumerate(families.items()):
            level = sum(is_number(segment) for segment in str(parent).split("."))
            ranked = sorted((rank, index) for rank, index, _ in members)
            blocks = [block for _, _, block in members if block is not None]
            if len({rank for rank, _ in ranked}) < max(len(ranked), 2) or len(set(blocks)) < len(blocks):
                continue
            for place, (_, index) in enumerate(ranked):
                column = used[index]
                if column < _MOST:
                    used[index] += 1
                    self._family[index, column], self._rank[index, column] = number, place
                    self.levels[index, column] = level
                    if place:
                        self.before[index, column] = ranked[place - 1][1]
                    if place + 1 < len(ranked):
                        after[index, column] = ranked[place + 1][1]
        self.counts = any(used)
        most = max(used, default=0)
        self.before, after = self.before[:, :most], after[:, :most]
        self._family, self._rank = self._family[:, :most], self._rank[:, :most]
        self.levels = self.levels[:, :most]
        self.beside = np.concatenate((self.before, after), axis=1)
        self.steps = np.repeat((1, -1), most)
        self.around = np.concatenate((self.levels, self.levels), axis=1)

    def __len__(self) -> int:
        """Number of nodes."""
        return self._number

    def together(self, one: Ints, other: Ints, levels: Ints) -> NDArray[np.bool_]:
        """Whether two nodes are in one numbered block at some level: there alone their order means something.

        Args:
            one: nodes.
            other: as many nodes, or one for each row of the others.
            levels: how many numbered blocks are around what they are compared with.
        """
        import numpy as np

        at = np.minimum(levels, self._blocks.shape[1] - 1)
        inside: NDArray[np.bool_] = self._blocks[one, at] == self._blocks[other, at]
        return inside

    def relation(self, one: Ints, other: Ints) -> Ints:
        """Returns 1 where node ``one`` comes before node ``other``, -1 after it, 0 where that is unknown."""
        import numpy as np

        if self._ordered:
            order: Ints = np.sign(other - one)
            return order
        result = np.zeros(np.broadcast_shapes(one.shape, other.shape), dtype=np.intp)
        for column in range(self._family.shape[1]):
            for another in range(self._family.shape[1]):
                same = (self._family[one, column] == self._family[other, another]) & (
                    self._family[one, column] >= 0
                )
                gap = np.sign(self._rank[other, another] - self._rank[one, column])
                result = np.where(same & (result == 0), gap, result)
        return result


def _blocks(nodes: Sequence[Node]) -> Ints:
    """Returns node, level -> the numbered block around it at that level; below the last one, this."""
    import numpy as np

    known: dict[str, int] = {}
    around = [[known.setdefault(m, len(known)) for m in blocks_around(node.path)] for node in nodes]
    depth = max((len(blocks) for blocks in around), default=0)
    table: Ints = np.full((len(nodes) + 1, depth + 1), -1, dtype=np.intp)
    for index, blocks in enumerate(around):
        table[index, 1:] = [*blocks, *[blocks[-1]] * (depth - len(blocks))] if blocks else -1
    return table


def _contents(nodes: Sequence[Node]) -> dict[str, frozenset[tuple[object, int]]]:
    """Returns module -> how many nodes of each kind it holds."""
    found: defaultdict[str, Counter[object]] = defaultdict(Counter)
    for node in nodes:
        for module in modules_of(node.path):
            found[module][node.kind] += 1
    return {module: frozenset(kinds.items()) for module, kinds in found.items()}
