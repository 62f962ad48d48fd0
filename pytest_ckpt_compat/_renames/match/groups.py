"""Groups nodes by what they share (a module, an ending of the path), and measures how groups correspond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Groups:
    """The groups of one side, numbered from 1.

    Attributes:
        members: for each node, the numbers of its groups, one column per level; 0 for no group.
        sizes: number of nodes in each group.
        names: names of the groups, the first for number 1.
    """

    members: Ints
    sizes: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, memberships: Sequence[Sequence[str]]) -> Groups:
        """Makes the groups from the names of each node's groups."""
        import numpy as np

        numbering: dict[str, int] = {}
        members = np.zeros((len(memberships), max(map(len, memberships), default=0)), dtype=np.intp)
        for index, names in enumerate(memberships):
            for level, name in enumerate(names):
                members[index, level] = numbering.setdefault(name, len(numbering) + 1)
        sizes = np.bincount(members.ravel(), minlength=len(numbering) + 1).astype(np.float64)
        return cls(members, sizes, tuple(numbering))


def nested_share(table: Floats, old: Ints, new: Ints) -> Floats:
    """Averages, over the groups of both nodes of a pair, the entry of each group's best counterpart.

    Args:
        table: an entry for each old and new group; number 0 means no group.
        old: groups of the old node of each pair, one column per level.
        new: groups of the new node of each pair, likewise.
    """
    entries = table[old[:, :, None], new[:, None, :]] * (old > 0)[:, :, None] * (new > 0)[:, None, :]
    return nested_mean(entries, (old > 0).sum(axis=1), (new > 0).sum(axis=1))


def nested_mean(entries: Floats, old: Ints, new: Ints) -> Floats:
    """As ``nested_share``, given the entries (0 or less without a group) and each node's number of groups."""
    import numpy as np

    by_old = highest(entries, 2).sum(axis=1) / np.maximum(old, 1)
    by_new = highest(entries, 1).sum(axis=1) / np.maximum(new, 1)
    mean: Floats = (by_old + by_new) / 2
    return mean


def highest(entries: Floats, axis: int) -> Floats:
    """Returns the highest entry along an axis, at least 0. For a short axis, this is faster than ``max``."""
    import numpy as np

    layers = np.moveaxis(entries, axis, 0)
    best: Floats = np.zeros(layers.shape[1:])
    for layer in layers:
        np.maximum(best, layer, out=best)
    return best
