"""Measures the evidence that the chosen pairs give for other pairs.

The modules around two matched nodes probably correspond (``backbone -> encoder``). So do the endings
of their paths (``self.query -> q_proj``) and the numbers of their blocks (``j = i + 1``). No pair
counts as evidence for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.match.groups import (
    Groups,
    Places,
    are_deep,
    deep_mean,
    highest,
    nested_mean,
    numbered,
)
from pytest_ckpt_compat._renames.match.index_maps import IndexMaps
from pytest_ckpt_compat._renames.match.ordinals import Ordinals
from pytest_ckpt_compat._renames.units.paths import template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

    from pytest_ckpt_compat._renames.match.evidence import Measures

#: All pairs.
_ALL = slice(None)

#: Most segments of a path's ending.
_ENDING = 4


@dataclass(frozen=True)
class _Kind:
    """One way to group nodes, and the pairs of groups of each pair of nodes."""

    old: Groups
    new: Groups
    #: Index of the pair of groups, for each pair of nodes and each level of both.
    cells: Ints
    #: Index of each pair of groups in the flattened table of old and new groups.
    indexes: Ints
    #: Sum of the two sizes of each pair of groups, without the pair of nodes itself; infinite where one of
    #: the two is no group, so that nothing is shared.
    sizes: Floats
    #: Finds equal pairs of groups.
    places: Places

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
        indexes, cells = numbered(a * width + b, len(ours.sizes) * width)
        sizes = np.maximum(ours.sizes[indexes // width] + theirs.sizes[indexes % width] - 2, 1)
        shape = len(pairs), ours.members.shape[1], theirs.members.shape[1]
        sizes[(indexes // width == 0) | (indexes % width == 0)] = np.inf
        return cls(ours, theirs, cells.reshape(shape), indexes, sizes, Places(len(indexes)))

    def table(self, values: Floats) -> Floats:
        """Returns a value for each pair of groups as a table of old and new groups."""
        import numpy as np

        table = np.zeros(len(self.old.sizes) * len(self.new.sizes))
        table[self.indexes] = values
        return table.reshape(len(self.old.sizes), len(self.new.sizes))

    def votes(self, chosen: Ints, trust: Floats) -> Floats:
        """Returns the weight of the chosen pairs in each pair of groups."""
        import numpy as np

        cells = self.cells.take(chosen, axis=0)
        weights = np.broadcast_to(trust[:, None, None], cells.shape)
        counted = np.bincount(cells.ravel(), weights.ravel(), minlength=len(self.indexes))
        return counted.astype(np.float64, copy=False)

    def shares(self, votes: Floats, own: Floats, at: Ints | slice = _ALL) -> Floats:
        """Returns, per pair and levels, the matched share of both groups, without the pair itself.

        It is 0 or less where one of the two is no group.
        """
        import numpy as np

        cells = self.cells[at]
        share: Floats = votes.take(cells)
        share -= own[:, None, None]
        share *= 2
        share /= self.sizes.take(cells)
        return np.minimum(share, 1, out=share)

    def most(self, votes: Floats, own: Floats) -> Floats:
        """Returns the largest of the ``shares`` of each pair, at least 0."""
        import numpy as np

        best = highest(highest(self.share(votes).take(self.cells), 2), 1)
        themselves = np.flatnonzero(own)
        best[themselves] = highest(highest(self.shares(votes, own[themselves], themselves), 2), 1)
        return best

    def share(self, votes: Floats) -> Floats:
        """Returns the matched share of both groups of each pair of groups."""
        import numpy as np

        share: Floats = np.minimum(votes * 2 / self.sizes, 1)
        return share

    def among(self, chosen: Ints) -> _Among:
        """Returns what the chosen pairs show of each other, each with full weight."""
        import numpy as np

        cells = self.cells.take(chosen, axis=0)
        flat = cells.ravel()
        places = self.places.of(flat)
        votes = np.bincount(places, minlength=len(flat)).astype(np.float64).take(places)
        share = ((votes - 1) * 2 / self.sizes.take(flat)).reshape(cells.shape)
        return _Among(flat, places, votes, np.minimum(share, 1, out=share))


@dataclass(frozen=True)
class _Among:
    """What pairs show of each other.

    Attributes:
        cells: for each pair and each level of both, the pair of groups it is in; flat.
        places: for each of these, where an equal one is.
        votes: how many of the pairs are in each.
        shares: per pair and levels, the matched share of both groups, without the pair itself.
    """

    cells: Ints
    places: Ints
    votes: Floats
    shares: Floats


class Teacher:
    """Measures candidate pairs by the chosen ones."""

    def __init__(
        self, old: Sequence[Node], new: Sequence[Node], pairs: Candidates, ordered: tuple[bool, bool]
    ) -> None:
        self._pairs = pairs
        self.ordinals = Ordinals(old, new, pairs, ordered)
        self._height = len(old)
        self._modules = _Kind.of(old, new, pairs, lambda node: node.modules)
        self._templates = _Kind.of(old, new, pairs, lambda node: [template(node.path)])
        self._endings = _Kind.of(old, new, pairs, _endings)
        self._index_maps = IndexMaps(self._modules.old.names, self._modules.new.names, self._modules.indexes)
        members = self._modules.old.members, self._modules.new.members
        self._around = (members[0] > 0).sum(axis=1), (members[1] > 0).sum(axis=1)
        maps = self._index_maps
        self._numbered = (
            maps.old_numbered[members[0]].sum(axis=1),
            maps.new_numbered[members[1]].sum(axis=1),
        )
        ranks = _ranks(old, self._modules.old), _ranks(new, self._modules.new)
        self._in_step = 1 - abs(ranks[0][pairs.rows][:, :, None] - ranks[1][pairs.cols][:, None, :])

    def learnt(self, chosen: Ints, trust: Floats) -> Measures:
        """Measures all pairs by the chosen ones, each weighed by its ``trust``."""
        import numpy as np

        modules = self._modules
        own = np.zeros(len(self._pairs))
        own[chosen] = trust
        by_modules = self._deep if self._is_deep() else self._around_each
        measures = {
            **by_modules(modules.votes(chosen, trust), own),
            "ordinals": self.ordinals.agreement(chosen),
            "neighbours": self._neighbours(chosen, trust),
        }
        for name, kind in (("templates", self._templates), ("endings", self._endings)):
            measures[name] = kind.most(kind.votes(chosen, trust), own)
        return measures

    def among(self, chosen: Ints) -> Measures:
        """Measures the chosen pairs by each other, each of full weight: as ``learnt``, in less time.

        The time grows with the chosen pairs, and not with all that could be chosen.
        """
        import numpy as np

        modules = self._modules.among(chosen)
        first = np.flatnonzero(modules.places == np.arange(len(modules.places)))
        agreeing: Floats = np.zeros(len(modules.cells))
        agreeing[first] = self._index_maps.agreement(modules.votes[first], modules.cells[first])
        agreeing = agreeing[modules.places].reshape(modules.shares.shape)
        measures = {
            **self._nested(modules.shares, agreeing, chosen),
            "ordinals": self.ordinals.agreement(chosen, chosen),
            "neighbours": self._neighbours(chosen, np.ones(len(chosen)), chosen),
        }
        for name, kind in (("templates", self._templates), ("endings", self._endings)):
            measures[name] = highest(highest(kind.among(chosen).shares, 2), 1)
        return measures

    def _is_deep(self) -> bool:
        old, new = self._modules.old, self._modules.new
        return are_deep((len(old.sizes), len(new.sizes)), old.members, new.members, len(self._pairs))

    def _around_each(self, votes: Floats, own: Floats, at: Ints | slice = _ALL) -> Measures:
        """Measures pairs by the modules around them, all levels of each pair by themselves."""
        modules = self._modules
        shares = modules.shares(votes, own, at)
        agreeing = self._index_maps.agreement(votes).take(modules.cells[at])
        return self._nested(shares, agreeing, at)

    def _nested(self, shares: Floats, agreeing: Floats, at: Ints | slice) -> Measures:
        """Returns the measures of pairs, given the share and the agreement of each two modules around."""
        rows, cols = self._pairs.rows[at], self._pairs.cols[at]
        around, numbered = self._around, self._numbered
        return {
            "modules": nested_mean(shares, around[0][rows], around[1][cols]),
            "module_order": highest(highest(shares * self._in_step[at], 2), 1),
            "numbers": nested_mean(agreeing, numbered[0][rows], numbered[1][cols]),
        }

    def _deep(self, votes: Floats, own: Floats) -> Measures:
        """As ``_around_each``: what is no evidence itself has the shares of the modules around it."""
        import numpy as np

        modules, around, numbered = self._modules, self._around, self._numbered
        old, new = modules.old.members, modules.new.members
        rows, cols = self._pairs.rows, self._pairs.cols
        shares = modules.share(votes)
        agreeing = modules.table(self._index_maps.agreement(votes))
        in_step = np.zeros(len(self._pairs))
        for level in range(old.shape[1]):
            here = shares.take(modules.cells[:, level])
            here *= self._in_step[:, level]
            np.maximum(in_step, highest(here, 1), out=in_step)
        table = modules.table(shares)
        measures = {
            "modules": deep_mean(table, old, new, rows, cols, around[0][rows], around[1][cols]),
            "module_order": in_step,
            "numbers": deep_mean(agreeing, old, new, rows, cols, numbered[0][rows], numbered[1][cols]),
        }
        themselves = np.flatnonzero(own)
        for name, values in self._around_each(votes, own[themselves], themselves).items():
            measures[name][themselves] = values
        return measures

    def _neighbours(self, chosen: Ints, trust: Floats, at: Ints | slice = _ALL) -> Floats:
        """Measures whether the nodes before and after a pair are matched."""
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
    """Returns each node's position among those of its kind, in each module around it, from 0 to 1."""
    import numpy as np

    members: dict[object, list[tuple[int, int]]] = {}
    for index, node in enumerate(nodes):
        for level, module in enumerate(modules.members[index].tolist()):
            members.setdefault((module, node.kind), []).append((index, level))
    table = np.zeros(modules.members.shape)
    for entries in members.values():
        for rank, entry in enumerate(entries):
            table[entry] = rank / max(len(entries) - 1, 1)
    return table
