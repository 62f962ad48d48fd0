"""Proposes alternatives to an assignment: exchanges of two nodes, in one block or in all, and moved blocks.

An alternative with a higher objective replaces the assignment. One with almost the same objective
shows that the key lists cannot decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._renames.match.assignment import assigned
from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.match.ordinals import Ordinals
from pytest_ckpt_compat._renames.units.paths import template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: Number of closest rivals examined for each pair.
_RIVALS = 3

#: Cost of an exchange above which a rival is not examined.
_FAR = 1.5

#: Old node -> its new partner.
Move = dict[int, int]

#: An alternative: ``exchange`` two nodes; exchange nodes with the same difference ``everywhere``; move a
#: ``block`` to another; match the blocks of a family ``in order``.
Proposal = tuple[Any, ...]


@dataclass(frozen=True)
class _Choice:
    """Chosen pairs, by their nodes.

    Attributes:
        chosen: indexes of the pairs.
        partners: old node -> new node.
        holders: new node -> old node.
        places: old node -> its place among the pairs.
    """

    chosen: Ints
    partners: Move
    holders: Move
    places: dict[int, int]

    @classmethod
    def of(cls, pairs: Candidates, chosen: Ints) -> _Choice:
        rows, cols = pairs.rows[chosen].tolist(), pairs.cols[chosen].tolist()
        places = {row: place for place, row in enumerate(rows)}
        return cls(chosen, dict(zip(rows, cols, strict=True)), dict(zip(cols, rows, strict=True)), places)


class Exchanger:
    """Finds alternatives to an assignment of old nodes to new ones."""

    def __init__(
        self, old: Sequence[Node], new: Sequence[Node], pairs: Candidates, ordinals: Ordinals
    ) -> None:
        self._old = old
        self._ordinals = ordinals
        self._pairs = pairs
        self._segments = [node.path.split(".") for node in old]
        self._paths = {node.path: index for index, node in enumerate(old)}
        self._by_ending: dict[int, dict[tuple[str, str], list[int]]] = {}
        self._sides = _Modules(old), _Modules(new)
        self._last: _Choice | None = None
        self._first: dict[int, int] = {}
        self._offset: dict[int, int] = {}
        self._class_of: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for number, (part, _, width) in enumerate(pairs.classes):
            rows, cols = pairs.rows[part][::width].tolist(), pairs.cols[part][:width].tolist()
            self._first.update((row, part.start + index * width) for index, row in enumerate(rows))
            self._offset.update((col, index) for index, col in enumerate(cols))
            self._class_of[0].update(dict.fromkeys(rows, number))
            self._class_of[1].update(dict.fromkeys(cols, number))

    def proposals(self, score: Floats, chosen: Ints) -> Iterator[Proposal]:
        """Yields alternatives from the closest rivals of each chosen pair, each once."""
        ours, theirs = self._sides
        known: set[Proposal] = set()
        for one, other in self._rivals(score, chosen):
            row, rival = int(self._pairs.rows[one]), int(self._pairs.rows[other])
            found: list[Proposal] = [
                ("exchange", *sorted((row, rival))),
                ("everywhere", *sorted(self._difference(row, rival))),
            ]
            for module in self._old[row].modules:
                found.append(("in order", *ours.family(module)))
                found += [
                    ("block", module, target)
                    for target in theirs.around(int(self._pairs.cols[other]))
                    if ours.content(module) == theirs.content(target)
                ]
            yield from (proposal for proposal in found if proposal not in known)
            known.update(found)
        for proposal in (*self._out_of_step(chosen), *self._divided(chosen), *self._neighbours(chosen)):
            if proposal not in known:
                known.add(proposal)
                yield proposal

    def _out_of_step(self, chosen: Ints) -> Iterator[Proposal]:
        """Yields exchanges of what counts upwards on the old side and downwards on the new."""
        for before, after in self._ordinals.out_of_step(chosen):
            yield ("everywhere", *sorted(self._difference(before, after)))
            yield ("exchange", *sorted((before, after)))

    def _divided(self, chosen: Ints) -> Iterator[Proposal]:
        """Yields moves of whole blocks to where a part of the block is matched."""
        partners = self._choice(chosen).partners
        ours, theirs = self._sides
        for block in ours.names():
            indexes = [index for each in ours.by_kind(block).values() for index in each]
            votes = Counter(
                target
                for index in indexes
                if index in partners
                for target in theirs.around(partners[index])
                if theirs.content(target) == ours.content(block)
            )
            yield from (("block", block, target) for target, n in votes.items() if n < len(indexes))

    def _neighbours(self, chosen: Ints) -> Iterator[Proposal]:
        """Yields moves of blocks to where the next block of equal content is: both may be wrong."""
        partners = self._choice(chosen).partners
        ours, theirs = self._sides
        for blocks in ours.alike():
            for block, other in pairwise(blocks):
                indexes = [index for each in ours.by_kind(other).values() for index in each]
                for target in theirs.around(partners[indexes[0]]) if indexes[0] in partners else ():
                    if theirs.content(target) == ours.content(block):
                        yield "block", block, target

    def _rivals(self, score: Floats, chosen: Ints) -> Iterator[tuple[int, int]]:
        """Yields chosen pairs that could exchange partners, for each the closest ones."""
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
                        yield int(mine[one]), int(mine[other])

    def crosses_names(self, proposal: Proposal, chosen: Ints) -> bool:
        """Whether a proposal exchanges blocks whose names differ in more than numbers."""
        if proposal[0] != "block":
            return False
        holders = self._choice(chosen).holders
        displaced = Counter(
            template(".".join(self._segments[holders[index]][: proposal[1].count(".") + 1]))
            for indexes in self._sides[1].by_kind(proposal[2]).values()
            for index in indexes
            if index in holders
        )
        return bool(displaced) and displaced.most_common(1)[0][0] != template(proposal[1])

    def carry_out(self, proposal: Proposal, score: Floats, chosen: Ints) -> Ints:
        """Returns the chosen pairs after the proposal."""
        choice = self._choice(chosen)
        partners = choice.partners
        what, *about = proposal
        if what == "exchange":
            move = _exchange(partners, [(about[0], about[1])])
        elif what == "everywhere":
            move = _exchange(partners, self._everywhere(*about))
        elif what == "block":
            move = self._moved(choice, score, [(about[0], about[1])])
        else:
            move = self._moved(choice, score, self._in_order(partners, about))
        result = chosen.copy()
        for row, col in move.items():
            result[choice.places[row]] = self._pair(row, col)
        return result

    def _choice(self, chosen: Ints) -> _Choice:
        """Returns what the chosen pairs say of each node. The same ones are asked about again and again."""
        if self._last is None or self._last.chosen is not chosen:
            self._last = _Choice.of(self._pairs, chosen)
        return self._last

    def _pair(self, row: int, col: int) -> int:
        return self._first[row] + self._offset[col]

    def _comparable(self, rows: Sequence[int], cols: Sequence[int]) -> bool:
        """Whether all these nodes are of one kind, and so compete with each other."""
        classes = {self._class_of[0].get(row) for row in rows} | {self._class_of[1].get(col) for col in cols}
        return len(classes) == 1 and None not in classes

    def _in_order(self, partners: Move, blocks: Sequence[str]) -> list[tuple[str, str]]:
        """Pairs the blocks of one family with the blocks they are matched into, both in file order."""
        ours, theirs = self._sides
        content = ours.content(blocks[0])
        targets: dict[str, int] = {}
        for block in blocks:
            first = min(
                partners.get(index, -1) for indexes in ours.by_kind(block).values() for index in indexes
            )
            for target in theirs.around(first) if first >= 0 else ():
                if theirs.content(target) == content:
                    targets[target] = first
        ordered = sorted(targets, key=targets.__getitem__)
        return list(zip(blocks, ordered, strict=True)) if len(ordered) == len(blocks) else []

    def _moved(self, choice: _Choice, score: Floats, blocks: list[tuple[str, str]]) -> Move:
        """Matches all nodes of old blocks into new ones. Nodes displaced there take the freed partners."""
        ours, theirs = self._sides
        partners = choice.partners
        after: Move = {}
        holders: Move = {}
        for module, target in blocks:
            for kind, rows in ours.by_kind(module).items():
                cols = theirs.by_kind(target)[kind]
                if not self._comparable(rows, cols) or any(row not in partners for row in rows):
                    continue
                for i, j in zip(*assigned(self._table(score, rows, cols)), strict=True):
                    row, col = rows[int(i)], cols[int(j)]
                    freed = after.get(row, partners[row])
                    holder = holders.get(col, choice.holders.get(col))
                    after[row] = col
                    holders[col] = row
                    if holder is not None and holder != row:
                        after[holder] = freed
                        holders[freed] = holder
        return {old: new for old, new in after.items() if partners[old] != new}

    def _table(self, score: Floats, rows: Sequence[int], cols: Sequence[int]) -> Floats:
        """Returns the score of each of the rows with each of the columns, all of one kind."""
        import numpy as np

        first = np.array([self._first[row] for row in rows], dtype=np.intp)
        offset = np.array([self._offset[col] for col in cols], dtype=np.intp)
        table: Floats = score[first[:, None] + offset]
        return table

    def _difference(self, a: int, b: int) -> list[tuple[str, str]]:
        """Returns how two nodes differ: the family of their common block, and the rest of each path."""
        one, other = self._segments[a], self._segments[b]
        shared = 0
        while shared < min(len(one), len(other)) - 1 and one[shared] == other[shared]:
            shared += 1
        family = template(".".join(one[:shared]))
        return [(family, ".".join(one[shared:])), (family, ".".join(other[shared:]))]

    def _everywhere(self, one: tuple[str, str], other: tuple[str, str]) -> list[tuple[int, int]]:
        """Finds all pairs of old nodes with this difference, in every block of the family."""
        found: list[tuple[int, int]] = []
        depth = one[1].count(".") + 1
        for index in self._divided_at(depth).get(one, ()):
            other_index = self._paths.get(".".join((*self._segments[index][:-depth], other[1])))
            if other_index is not None and self._comparable((index, other_index), ()):
                found.append((index, other_index))
        return found

    def _divided_at(self, depth: int) -> dict[tuple[str, str], list[int]]:
        """Returns the old nodes by the family around their last ``depth`` segments, and these segments."""
        if depth not in self._by_ending:
            table = self._by_ending[depth] = {}
            for index, segments in enumerate(self._segments):
                ending = template(".".join(segments[:-depth])), ".".join(segments[-depth:])
                table.setdefault(ending, []).append(index)
        return self._by_ending[depth]


def _exchange(partners: Move, swaps: Iterable[tuple[int, int]]) -> Move:
    move: Move = {}
    for a, b in swaps:
        if a in partners and b in partners:
            move[a], move[b] = partners[b], partners[a]
    return move


class _Modules:
    """The modules of one side, and the nodes in each."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._inside: defaultdict[str, dict[Hashable, list[int]]] = defaultdict(dict)
        for index, node in enumerate(nodes):
            for module in node.modules:
                self._inside[module].setdefault(node.kind, []).append(index)
        self._contents = {
            module: frozenset((kind, len(indexes)) for kind, indexes in kinds.items())
            for module, kinds in self._inside.items()
        }
        self._families: defaultdict[Hashable, list[str]] = defaultdict(list)
        for module, content in self._contents.items():
            self._families[template(module), content].append(module)

    def around(self, index: int) -> tuple[str, ...]:
        return self._nodes[index].modules

    def by_kind(self, module: str) -> dict[Hashable, list[int]]:
        return self._inside[module]

    def content(self, module: str) -> Hashable:
        return self._contents[module]

    def names(self) -> list[str]:
        return list(self._contents)

    def alike(self) -> list[list[str]]:
        """Returns the groups of several modules with equal content."""
        grouped: defaultdict[Hashable, list[str]] = defaultdict(list)
        for module, content in self._contents.items():
            grouped[content].append(module)
        return [modules for modules in grouped.values() if len(modules) > 1]

    def family(self, module: str) -> list[str]:
        """Returns the modules of equal content whose paths differ only in numbers, in order."""
        return self._families[template(module), self._contents[module]]
