"""What pairs that are believed already say about the others: rules learnt, not written down.

The modules around two matched nodes probably correspond (``backbone -> encoder``), so do the endings
of their paths (``self.query -> q_proj``) and the numbers of their blocks (``j = i + 1``). No pair
votes for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt_compat.renames.candidates import Candidates, Node
from pytest_ckpt_compat.renames.evidence import Weights
from pytest_ckpt_compat.renames.groups import Groups, nested_mean
from pytest_ckpt_compat.renames.tokens import template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: How many segments an ending of a path may have.
_ENDING = 4

_NUMBERED = re.compile(r"(?P<family>.*?)(?P<number>\d{1,9})")


@dataclass(frozen=True)
class _Kind:
    """One way of grouping nodes, and where each pair lies in the table of old and new groups."""

    old: Groups
    new: Groups
    #: Entry of the flattened table, per pair and per level of either node.
    cells: Ints
    #: Whether both nodes have a group at those levels.
    present: NDArray[np.bool_]

    @classmethod
    def of(
        cls, old: Sequence[Node], new: Sequence[Node], pairs: Candidates, groups: Callable[[Node], list[str]]
    ) -> _Kind:
        ours, theirs = Groups.of([groups(node) for node in old]), Groups.of([groups(node) for node in new])
        a, b = ours.members[pairs.rows][:, :, None], theirs.members[pairs.cols][:, None, :]
        return cls(ours, theirs, a * len(theirs.sizes) + b, (a > 0) & (b > 0))

    def votes(self, chosen: Ints, trust: Floats) -> Floats:
        """How much the chosen pairs speak for each pair of groups."""
        import numpy as np

        cells = self.cells[chosen]
        weights = np.broadcast_to(trust[:, None, None], cells.shape)
        shape = len(self.old.sizes), len(self.new.sizes)
        return np.bincount(cells.ravel(), weights.ravel(), minlength=shape[0] * shape[1]).reshape(shape)

    def shares(self, votes: Floats, own: Floats) -> Floats:
        """Per pair and levels: the part of both groups that goes together, the pair itself aside."""
        import numpy as np

        sizes = self.old.sizes[:, None] + self.new.sizes[None, :] - 2
        others = votes.ravel()[self.cells] - own[:, None, None]
        share: Floats = np.minimum(2 * others / np.maximum(sizes.ravel()[self.cells], 1), 1) * self.present
        return share


class Teacher:
    """Scores all candidate pairs in the light of those chosen."""

    def __init__(self, old: Sequence[Node], new: Sequence[Node], pairs: Candidates, weights: Weights) -> None:
        self._pairs = pairs
        self._weights = weights
        self._heights = len(old)
        self._modules = _Kind.of(old, new, pairs, lambda node: node.modules)
        self._templates = _Kind.of(old, new, pairs, lambda node: [template(node.path)])
        self._endings = _Kind.of(old, new, pairs, _endings)
        self._families = _families(self._modules.old.names), _families(self._modules.new.names)
        ranks = _ranks(old, self._modules.old), _ranks(new, self._modules.new)
        self._in_step = 1 - abs(ranks[0][pairs.rows][:, :, None] - ranks[1][pairs.cols][:, None, :])

    def score(self, chosen: Ints, trust: Floats) -> Floats:
        """The worth of every pair, given the chosen ones and how far each of them is trusted."""
        import numpy as np

        weights = self._weights
        own = np.zeros(len(self._pairs))
        own[chosen] = trust
        votes = self._modules.votes(chosen, trust)
        shares = self._modules.shares(votes, own)
        old, new = self._modules.old.members[self._pairs.rows], self._modules.new.members[self._pairs.cols]
        rules = _number_rules(votes, *self._families).ravel()[self._modules.cells]
        numbered = self._families[0][0][old] > 0, self._families[1][0][new] > 0
        score = weights.modules * nested_mean(shares, old > 0, new > 0)
        score += weights.module_order * (shares * self._in_step).max(axis=(1, 2), initial=0)
        score += weights.numbers * nested_mean(rules, *numbered)
        for weight, kind in ((weights.templates, self._templates), (weights.endings, self._endings)):
            score += weight * kind.shares(kind.votes(chosen, trust), own).max(axis=(1, 2), initial=0)
        return score + weights.neighbours * self._beside(chosen, trust)

    def _beside(self, chosen: Ints, trust: Floats) -> Floats:
        """How far the nodes before and after a pair go together."""
        import numpy as np

        rows, cols = self._pairs.rows, self._pairs.cols
        partner = np.full(self._heights + 2, -2, dtype=np.intp)
        worth = np.zeros(self._heights + 2)
        partner[rows[chosen] + 1] = cols[chosen]
        worth[rows[chosen] + 1] = trust
        before = (partner[rows] == cols - 1) * worth[rows]
        after = (partner[rows + 2] == cols + 1) * worth[rows + 2]
        mean: Floats = (before + after) / 2
        return mean


def _endings(node: Node) -> list[str]:
    segments = node.path.split(".")
    return [".".join(segments[-length:]) for length in range(1, min(len(segments), _ENDING) + 1)]


def _ranks(nodes: Sequence[Node], modules: Groups) -> Floats:
    """Place of each node among those of its kind in each module around it, from 0 to 1."""
    import numpy as np

    members: dict[object, list[tuple[int, int]]] = {}
    for place, node in enumerate(nodes):
        for level, module in enumerate(modules.members[place].tolist()):
            members.setdefault((module, node.kind), []).append((place, level))
    table = np.zeros(modules.members.shape)
    for places in members.values():
        for rank, entry in enumerate(places):
            table[entry] = rank / max(len(places) - 1, 1)
    return table


def _families(modules: Sequence[str]) -> tuple[Ints, Ints]:
    """Family and number of each module (``layers.3``, ``stage3``); family 0 for those without."""
    import numpy as np

    known: dict[str, int] = {}
    table = np.zeros((2, len(modules) + 1), dtype=np.intp)
    for place, module in enumerate(modules, start=1):
        found = _NUMBERED.fullmatch(module)
        if found:
            table[:, place] = known.setdefault(found["family"], len(known) + 1), int(found["number"])
    return table[0], table[1]


def _number_rules(votes: Floats, old: tuple[Ints, Ints], new: tuple[Ints, Ints]) -> Floats:
    """For pairs of numbered modules, the share of the other pairs of the two families that agree.

    They agree where they follow the same ``j = i + c`` or the same ``j = c - i``.
    """
    import numpy as np

    rules = np.zeros_like(votes)
    (old_families, old_numbers), (new_families, new_numbers) = old, new
    a, b = np.nonzero(votes * (old_families > 0)[:, None] * (new_families > 0)[None, :])
    for family, other in set(zip(old_families[a].tolist(), new_families[b].tolist(), strict=True)):
        rows, cols = np.flatnonzero(old_families == family), np.flatnonzero(new_families == other)
        part = votes[np.ix_(rows, cols)]
        elsewhere = part.sum() - part.sum(axis=1, keepdims=True) - part.sum(axis=0, keepdims=True) + part
        i, j = old_numbers[rows][:, None], new_numbers[cols][None, :]
        agreeing = np.zeros_like(part)
        for line in (j - i, j + i):
            _, line_of = np.unique(line, return_inverse=True)
            line_of = line_of.reshape(part.shape)
            agreeing = np.maximum(agreeing, np.bincount(line_of.ravel(), part.ravel())[line_of] - part)
        rules[np.ix_(rows, cols)] = agreeing / np.maximum(elsewhere, 1)
    return rules
