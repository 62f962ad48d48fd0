"""What pairs that are believed already say about the others: rules learnt, not written down.

The modules around two matched nodes probably correspond (``backbone -> encoder``), so do the endings
of their paths (``self.query -> q_proj``) and the numbers of their blocks (``j = i + 1``). No pair
votes for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.match.groups import Groups, nested_mean
from pytest_ckpt_compat._renames.match.number_rules import NumberRules
from pytest_ckpt_compat._renames.units.tokens import template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

    from pytest_ckpt_compat._renames.match.evidence import Measures

#: How many segments an ending of a path may have.
_ENDING = 4


@dataclass(frozen=True)
class _Kind:
    """One way of grouping nodes, and the pairs of groups that each pair of nodes falls into."""

    old: Groups
    new: Groups
    #: Number of the pair of groups, per pair of nodes and per level of either.
    cells: Ints
    #: Whether both nodes have a group at those levels.
    present: NDArray[np.bool_]
    #: Place of each pair of groups in the flattened table of old and new groups.
    places: Ints
    #: For each pair of groups the sum of their sizes, the pair of nodes itself aside.
    sizes: Floats

    @classmethod
    def of(
        cls,
        old: Sequence[Node],
        new: Sequence[Node],
        pairs: Candidates,
        groups: Callable[[Node], Sequence[str]],
    ) -> _Kind:
        import numpy as np

        ours, theirs = Groups.of([groups(node) for node in old]), Groups.of([groups(node) for node in new])
        a, b = ours.members[pairs.rows][:, :, None], theirs.members[pairs.cols][:, None, :]
        width = len(theirs.sizes)
        places, cells = np.unique(a * width + b, return_inverse=True)
        sizes = np.maximum(ours.sizes[places // width] + theirs.sizes[places % width] - 2, 1)
        shape = len(pairs), ours.members.shape[1], theirs.members.shape[1]
        return cls(ours, theirs, cells.reshape(shape), (a > 0) & (b > 0), places, sizes)

    def votes(self, chosen: Ints, trust: Floats) -> Floats:
        """How much the chosen pairs speak for each pair of groups."""
        import numpy as np

        cells = self.cells[chosen]
        weights = np.broadcast_to(trust[:, None, None], cells.shape)
        counted = np.bincount(cells.ravel(), weights.ravel(), minlength=len(self.places))
        return counted.astype(np.float64)

    def shares(self, votes: Floats, own: Floats, at: Ints) -> Floats:
        """Per pair and levels: the part of both groups that goes together, the pair itself aside."""
        import numpy as np

        cells = self.cells[at]
        others = votes[cells] - own[:, None, None]
        share: Floats = np.minimum(2 * others / self.sizes[cells], 1) * self.present[at]
        return share


class Teacher:
    """Measures candidate pairs in the light of those chosen."""

    def __init__(self, old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> None:
        self._pairs = pairs
        self._height = len(old)
        self._modules = _Kind.of(old, new, pairs, lambda node: node.modules)
        self._templates = _Kind.of(old, new, pairs, lambda node: [template(node.path)])
        self._endings = _Kind.of(old, new, pairs, _endings)
        self._rules = NumberRules(self._modules.old.names, self._modules.new.names, self._modules.places)
        ranks = _ranks(old, self._modules.old), _ranks(new, self._modules.new)
        self._in_step = 1 - abs(ranks[0][pairs.rows][:, :, None] - ranks[1][pairs.cols][:, None, :])

    def learnt(self, chosen: Ints, trust: Floats, at: Ints) -> Measures:
        """What the chosen pairs, as far as each is trusted, say about the pairs ``at``."""
        import numpy as np

        modules = self._modules
        trusts = np.zeros(len(self._pairs))
        trusts[chosen] = trust
        own = trusts[at]
        votes = modules.votes(chosen, trust)
        shares = modules.shares(votes, own, at)
        old, new = modules.old.members[self._pairs.rows[at]], modules.new.members[self._pairs.cols[at]]
        agreeing = self._rules.agreement(votes)[modules.cells[at]]
        numbered = self._rules.old_numbered[old], self._rules.new_numbered[new]
        measures = {
            "modules": nested_mean(shares, old > 0, new > 0),
            "module_order": (shares * self._in_step[at]).max(axis=(1, 2), initial=0),
            "numbers": nested_mean(agreeing, *numbered),
            "neighbours": self._beside(chosen, trust, at),
        }
        for name, kind in (("templates", self._templates), ("endings", self._endings)):
            measures[name] = kind.shares(kind.votes(chosen, trust), own, at).max(axis=(1, 2), initial=0)
        return measures

    def _beside(self, chosen: Ints, trust: Floats, at: Ints) -> Floats:
        """How far the nodes before and after a pair go together."""
        import numpy as np

        rows, cols = self._pairs.rows, self._pairs.cols
        partner = np.full(self._height + 2, -2, dtype=np.intp)
        worth = np.zeros(self._height + 2)
        partner[rows[chosen] + 1] = cols[chosen]
        worth[rows[chosen] + 1] = trust
        rows, cols = rows[at], cols[at]
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
