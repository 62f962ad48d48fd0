"""Groups nodes by what they share (a module, an ending of the path), and measures how groups correspond."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

_T = TypeVar("_T", bound=Hashable)


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


def nested_share(table: Floats, old: Ints, new: Ints, rows: Ints, cols: Ints) -> Floats:
    """Averages, over the groups of both nodes of a pair, the entry of each group's best counterpart.

    Args:
        table: an entry for each old and new group; number 0 means no group.
        old: groups of each old node, one column per level.
        new: groups of each new node, likewise.
        rows: index of the old node of each pair.
        cols: index of the new node of each pair.
    """
    import numpy as np

    numbers = (old > 0).sum(axis=1)[rows], (new > 0).sum(axis=1)[cols]
    grouped = np.arange(table.shape[0])[:, None] > 0, np.arange(table.shape[1]) > 0
    table = table * grouped[0] * grouped[1]
    if not are_deep(table.shape, old, new, len(rows)):
        return nested_mean(table[old[rows][:, :, None], new[cols][:, None, :]], *numbers)
    return deep_mean(table, old, new, rows, cols, *numbers)


def are_deep(shape: tuple[int, ...], old: Ints, new: Ints, pairs: int) -> bool:
    """Whether nodes are nested so deep that ``deep_mean`` takes less than all levels of each pair."""
    levels, depth = int(old.shape[1]), int(new.shape[1])
    return pairs * levels * depth > shape[0] * len(new) * depth + shape[1] * len(old) * levels


def deep_mean(
    table: Floats, old: Ints, new: Ints, rows: Ints, cols: Ints, old_number: Ints, new_number: Ints
) -> Floats:
    """As ``nested_mean``, with entries that are the same for all pairs of nodes.

    A group then has one best counterpart around a node, whichever node it is looked at from.
    """
    in_new, in_old = highest(table[:, new], 2), highest(table[old], 1)
    return _mean(in_new[old[rows], cols[:, None]], in_old[rows[:, None], new[cols]], old_number, new_number)


def nested_mean(entries: Floats, old: Ints, new: Ints) -> Floats:
    """As ``nested_share``, given the entries (0 or less without a group) and each node's number of groups."""
    return _mean(highest(entries, 2), highest(entries, 1), old, new)


def _mean(of_old: Floats, of_new: Floats, old: Ints, new: Ints) -> Floats:
    import numpy as np

    by_old = of_old.sum(axis=1) / np.maximum(old, 1)
    by_new = of_new.sum(axis=1) / np.maximum(new, 1)
    mean: Floats = (by_old + by_new) / 2
    return mean


def highest(entries: Floats, axis: int) -> Floats:
    """Returns the highest entry along axis 1 or 2, at least 0: of a short one, faster than ``max``."""
    import numpy as np

    best: Floats = np.zeros(entries.shape[:axis] + entries.shape[axis + 1 :])
    for place in range(entries.shape[axis]):
        layer: Floats = entries[:, place] if axis == 1 else entries[:, :, place]
        np.maximum(best, layer, out=best)
    return best


def numbered(values: Ints, most: int) -> tuple[Ints, Ints]:
    """As ``np.unique`` with its inverse, for values below ``most``; without sorting, where they are many."""
    import numpy as np

    if values.size < most:
        return np.unique(values, return_inverse=True)
    numbers = np.zeros(most, dtype=np.intp)
    numbers[values.ravel()] = 1
    indexes = np.flatnonzero(numbers)
    numbers[indexes] = np.arange(len(indexes))
    return indexes, numbers.take(values)


def coded(values: Iterable[_T]) -> tuple[list[_T], Ints]:
    """Returns the values, each once, and the index of each among them."""
    import numpy as np

    known: dict[_T, int] = {}
    indexes = np.array([known.setdefault(value, len(known)) for value in values], dtype=np.intp)
    return list(known), indexes


class Places:
    """Finds equal values among a few that are below a bound, without sorting them."""

    def __init__(self, most: int) -> None:
        import numpy as np

        self._last = np.empty(most, dtype=np.intp)

    def of(self, values: Ints) -> Ints:
        """Returns, for each value, the place of the last one that is equal to it."""
        import numpy as np

        self._last[values] = np.arange(len(values))
        return self._last.take(values)
