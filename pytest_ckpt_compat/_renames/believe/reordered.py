"""Layers of equal size beside a family that runs in another order now, as its sizes show.

The laterals of a pyramid were ``lateral.0`` to ``lateral.3`` and are ``inner.3`` to ``inner.0``: each has a
size of its own. Its outputs are of one size. They may run backwards now as well, whatever their numbers say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._renames.believe.ranks import increasing
from pytest_ckpt_compat._renames.units.paths import NUMBER, without_numbers
from pytest_ckpt_compat._renames.units.tokens import opposed
from pytest_ckpt_compat._renames.units.units import Unit


@dataclass(frozen=True)
class _Row:
    """The layers of one name, which one number tells apart on either side.

    Attributes:
        name: their name on the old side.
        modules: the module around all of them, of each side.
        order: the numbers of both sides, by those of the old one.
        members: the matches.
    """

    name: str
    modules: tuple[str, str]
    order: tuple[tuple[int, int], ...]
    members: tuple[tuple[int, int], ...]

    @property
    def rises(self) -> bool:
        return increasing([number for _, number in self.order])

    def is_beside(self, other: _Row) -> bool:
        """Whether one has the other's numbers on both sides, in one module, and no words tell them apart."""
        together = any(one == there for one, there in zip(self.modules, other.modules, strict=True))
        if not together or opposed(self.name, other.name):
            return False
        ours, theirs = ([set(column) for column in zip(*row.order, strict=True)] for row in (self, other))
        return all(map(set.issubset, ours, theirs)) or all(map(set.issuperset, ours, theirs))


def beside_reordered(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches of layers of equal size that may have a new order, as those beside them have."""
    rows = _rows(old, new, pairs)
    sizes = [Counter(old[a].slot for a, _ in row.members) for row in rows]
    moved = [
        row
        for row, held in zip(rows, sizes, strict=True)
        if len(row.order) == len(held) > 1 and not row.rises
    ]
    return {
        (a, b)
        for row, held in zip(rows, sizes, strict=True)
        if row.rises and any(row.is_beside(other) for other in moved)
        for a, b in row.members
        if held[old[a].slot] > 1 or old[a].copies
    }


def _rows(old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]) -> list[_Row]:
    names: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for a, b in pairs:
        names[without_numbers(old[a].path), without_numbers(new[b].path)].append((a, b))
    found = []
    for (name, _), members in names.items():
        one, other = _counted([old[a] for a, _ in members]), _counted([new[b] for _, b in members])
        if one and other and len(one[1]) == len(other[1]):
            order = tuple(sorted(zip(one[1], other[1], strict=True)))
            found.append(_Row(name, (one[0], other[0]), order, tuple(members)))
    return found


def _counted(units: Sequence[Unit]) -> tuple[str, tuple[int, ...]] | None:
    """The module around layers of one name, and the number of each; None unless one tells them apart."""
    first = units[0]
    if len(units) == 1:
        alone = len(first.numbers) == 1
        return (_around(first.path, 0), tuple(map(int, first.numbers[0]))) if alone else None
    columns = list(zip(*(map(int, NUMBER.findall(unit.path)) for unit in units), strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or len(set(columns[varying[0]])) < len(units) or any(unit.copies for unit in units):
        return None
    return _around(first.path, varying[0]), columns[varying[0]]


def _around(path: str, place: int) -> str:
    """The module around a family, given the place of its number among those of the path."""
    before = path[: [match.start() for match in NUMBER.finditer(path)][place]]
    return before.rstrip(".").rpartition(".")[0]
