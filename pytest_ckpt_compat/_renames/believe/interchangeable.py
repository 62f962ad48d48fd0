"""Finds units that only their order distinguishes from others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.believe.partings import Partings
from pytest_ckpt_compat._renames.match.groups import coded, numbered
from pytest_ckpt_compat._renames.units.paths import modules_of, template
from pytest_ckpt_compat._renames.units.similarities import similarities
from pytest_ckpt_compat._renames.units.tokens import Names
from pytest_ckpt_compat._renames.units.units import Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.intp]

#: Names distinguish two pairs if they are this much more similar than with exchanged partners.
_CLEARLY_MORE = 0.05

#: Number of units of one kind above which all count as interchangeable, without comparing each two.
_MOST = 1_000

#: Number of two matches from which on they are compared, before more of them are listed.
_AT_ONCE = 200_000


def interchangeable(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> set[int]:
    """Finds old units that could exchange partners with another: names and structure fit as well.

    An example is ``left -> alpha`` and ``right -> beta`` with equal content: only the order in the
    file supports this match. Numbered blocks (``blocks.{0..3} -> layers.{0..3}``) do not count: their
    index map decides.

    Args:
        old: units of the old side.
        new: units of the new side.
        believed: matches, as (index of an old unit, index of a new unit).

    Returns:
        The indexes of these old units.
    """
    import numpy as np

    found: set[int] = set()
    groups: list[list[tuple[int, int]]] = []
    for pairs in _by_kind(old, believed).values():
        if len(pairs) > _MOST:
            found.update(a for a, _ in pairs)
        elif len(pairs) > 1:
            groups.append(pairs)
    members = [pair for pairs in groups for pair in pairs]
    if not members:
        return found
    matches = _Matches([old[a].path for a, _ in members], [new[b].path for _, b in members], old, new)
    for one, other in _combinations(list(map(len, groups))):
        doubtful = ~matches.distinct(one, other)
        alike = np.zeros(len(members), dtype=bool)
        alike[one[doubtful]] = alike[other[doubtful]] = True
        found.update(members[index][0] for index in np.flatnonzero(alike).tolist())
    return found


def _combinations(sizes: Sequence[int]) -> Iterator[tuple[Ints, Ints]]:
    """Yields every two members of each group, many at once; members are counted through all groups."""
    import numpy as np

    start, waiting, number = 0, [], 0
    for size in sizes:
        one, other = np.triu_indices(size, 1)
        waiting.append((one + start, other + start))
        start, number = start + size, number + len(one)
        if number > _AT_ONCE:
            yield np.concatenate([one for one, _ in waiting]), np.concatenate([other for _, other in waiting])
            waiting, number = [], 0
    if waiting:
        yield np.concatenate([one for one, _ in waiting]), np.concatenate([other for _, other in waiting])


class _Matches:
    """Matches that are compared with each other, by the paths of their two layers."""

    def __init__(
        self, ours: Sequence[str], theirs: Sequence[str], old: Sequence[Unit], new: Sequence[Unit]
    ) -> None:
        self._sides = Partings(ours, _contents(old)), Partings(theirs, _contents(new))
        self._names = Names([template(unit.path) for unit in old], [template(unit.path) for unit in new])
        self._templates = coded(map(template, ours)), coded(map(template, theirs))

    def distinct(self, one: Ints, other: Ints) -> Bools:
        """Whether numbers, contents, stated ranks or names tell two matches apart."""
        import numpy as np

        told = self._by_structure(one, other)
        left = np.flatnonzero(~told)
        told[left] = self._by_name(one[left], other[left])
        return told

    def _by_structure(self, one: Ints, other: Ints) -> Bools:
        ours, theirs = self._sides
        left, right = ours.modules(one, other), theirs.modules(one, other)
        told = ours.numbered(*left) & theirs.numbered(*right)
        told |= ~ours.alike(*left) & ~theirs.alike(*right)
        (a, b), (c, d) = ours.ranks(*left), theirs.ranks(*right)
        together: Bools = told | ((a < b) & (c < d)) | ((b < a) & (d < c))
        return together

    def _by_name(self, one: Ints, other: Ints) -> Bools:
        """Whether the names are clearly more similar than with exchanged partners."""
        import numpy as np

        (ours, rows), (theirs, cols) = self._templates
        width = max(len(theirs), 1)
        pairs = ((one, one), (other, other), (one, other), (other, one))
        codes = np.concatenate([rows[a] * width + cols[b] for a, b in pairs])
        unique, inverse = numbered(codes, len(ours) * width)
        alike = similarities(self._names, ours, theirs, *np.divmod(unique, width))[inverse]
        kept, others, crossed, back = np.split(alike, 4)
        clear: Bools = kept + others - crossed - back >= _CLEARLY_MORE
        return clear


def _by_kind(
    old: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> dict[Hashable, list[tuple[int, int]]]:
    kinds: defaultdict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for a, b in believed:
        shapes = tuple((tensor.role, tensor.spec.shape) for tensor in old[a].tensors)
        kinds[shapes, old[a].copies].append((a, b))
    return kinds


def _contents(units: Sequence[Unit]) -> dict[str, Hashable]:
    """Counts the units in each module by shape and copies. A unit counts as a module of its own."""
    contents: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for unit in units:
        for module in (*modules_of(unit.path), unit.path):
            contents[module][unit.kind] += 1
    return {module: frozenset(held.items()) for module, held in contents.items()}
