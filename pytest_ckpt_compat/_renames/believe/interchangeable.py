"""Finds units that only their order distinguishes from others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
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
    kinds, parts = _by_kind(old, believed), _by_parts(old, new, believed)
    return _doubtful(old, new, kinds.values()) | _doubtful(old, new, parts.values(), joint=True)


def _doubtful(
    old: Sequence[Unit],
    new: Sequence[Unit],
    kinds: Collection[list[tuple[int, int]]],
    *,
    joint: bool = False,
) -> set[int]:
    """Returns the old units of the matches of one kind that nothing tells from another one.

    Args:
        old: units of the old side.
        new: units of the new side.
        kinds: matches that may be exchanged, kind by kind.
        joint: whether they may be so with their modules alone, since each module has joined its layers in
            another way.
    """
    import numpy as np

    found = {a for pairs in kinds if len(pairs) > _MOST for a, _ in pairs}
    groups = [pairs for pairs in kinds if 1 < len(pairs) <= _MOST]
    members = [pair for pairs in groups for pair in pairs]
    if not members:
        return found
    matches = _Matches([old[a].path for a, _ in members], [new[b].path for _, b in members], old, new)
    for one, other in _combinations(list(map(len, groups))):
        doubtful = ~matches.distinct(one, other, by_modules=joint)
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
        self._modules = self._sides[0].templates, self._sides[1].templates

    def distinct(self, one: Ints, other: Ints, *, by_modules: bool) -> Bools:
        """Whether numbers, contents, stated ranks or names tell two matches apart.

        Args:
            one: the one match of each two.
            other: the other one.
            by_modules: whether the names of the modules at which they part have to, and not their own.
        """
        import numpy as np

        told = self._by_structure(one, other)
        left = np.flatnonzero(~told)
        told[left] = self._by_name(one[left], other[left], by_modules=by_modules)
        return told

    def _by_structure(self, one: Ints, other: Ints) -> Bools:
        ours, theirs = self._sides
        left, right = ours.modules(one, other), theirs.modules(one, other)
        told = ours.numbered(*left) & theirs.numbered(*right)
        told |= ~ours.alike(*left) & ~theirs.alike(*right)
        (a, b), (c, d) = ours.ranks(*left), theirs.ranks(*right)
        together: Bools = told | ((a < b) & (c < d)) | ((b < a) & (d < c))
        return together

    def _by_name(self, one: Ints, other: Ints, *, by_modules: bool) -> Bools:
        """Whether the names are clearly more similar than with exchanged partners."""
        import numpy as np

        if by_modules:
            left, right = (side.modules(one, other) for side in self._sides)
            (ours, rows), (theirs, cols) = self._modules
        else:
            left = right = one, other
            (ours, rows), (theirs, cols) = self._templates
        width = max(len(theirs), 1)
        pairs = ((0, 0), (1, 1), (0, 1), (1, 0))
        codes = np.concatenate([rows[left[a]] * width + cols[right[b]] for a, b in pairs])
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
        kinds[_shapes(old[a])].append((a, b))
    return kinds


def _shapes(unit: Unit) -> Hashable:
    return tuple((tensor.role, tensor.spec.shape) for tensor in unit.tensors), unit.copies


def _by_parts(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> dict[Hashable, list[tuple[int, int]]]:
    """Returns the matches that are of one kind once joint layers are taken apart, where some are joint.

    One module has its query, key and value in one layer, and the module beside it its key and value alone:
    either may be the one that kept its query apart.
    """
    kinds: defaultdict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    joined: defaultdict[Hashable, set[int]] = defaultdict(set)
    for a, b in believed:
        parts = old[a].parts or new[b].parts or (old[a],)
        for kind in set(map(_shapes, parts)):
            kinds[kind].append((a, b))
            joined[kind].add(len(parts))
    return {kind: pairs for kind, pairs in kinds.items() if len(joined[kind]) > 1}


def _contents(units: Sequence[Unit]) -> dict[str, Hashable]:
    """Counts the units in each module by shape and copies. A unit counts as a module of its own.

    A joint unit counts as its parts: that they were joined says how the match explains the module, and
    nothing of what it holds.
    """
    contents: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for unit in units:
        held = [part.kind for part in unit.parts or (unit,)]
        for module in (*modules_of(unit.path), unit.path):
            contents[module].update(held)
    return {module: frozenset(held.items()) for module, held in contents.items()}
