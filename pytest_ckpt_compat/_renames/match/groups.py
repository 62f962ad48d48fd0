"""Nodes by what they share (a module around, an ending of the path), and how far groups correspond."""

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
    """Groups of one side, numbered from 1.

    Attributes:
        members: for each node the groups it is in, a column per level; 0 where it has none.
        sizes: how many nodes each group has.
        names: the groups in the order of their numbers, from 1.
    """

    members: Ints
    sizes: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, memberships: Sequence[Sequence[str]]) -> Groups:
        """From the groups that each node is in."""
        import numpy as np

        numbering: dict[str, int] = {}
        members = np.zeros((len(memberships), max(map(len, memberships), default=0)), dtype=np.intp)
        for place, names in enumerate(memberships):
            for level, name in enumerate(names):
                members[place, level] = numbering.setdefault(name, len(numbering) + 1)
        sizes = np.bincount(members.ravel(), minlength=len(numbering) + 1).astype(np.float64)
        return cls(members, sizes, tuple(numbering))


def nested_share(table: Floats, old: Ints, new: Ints) -> Floats:
    """For pairs of nodes, the mean over the groups of both of the best counterpart's entry.

    Args:
        table: an entry per old and new group; group 0 is none.
        old: groups of the old node of each pair, a column per level.
        new: groups of the new node of each pair.
    """
    return nested_mean(table[old[:, :, None], new[:, None, :]], old > 0, new > 0)


def nested_mean(entries: Floats, old: NDArray[np.bool_], new: NDArray[np.bool_]) -> Floats:
    """As ``nested_share``, from the entries themselves and from which groups there are."""
    import numpy as np

    entries = entries * old[:, :, None] * new[:, None, :]
    by_old = entries.max(axis=2, initial=0).sum(axis=1) / np.maximum(old.sum(axis=1), 1)
    by_new = entries.max(axis=1, initial=0).sum(axis=1) / np.maximum(new.sum(axis=1), 1)
    mean: Floats = (by_old + by_new) / 2
    return mean
