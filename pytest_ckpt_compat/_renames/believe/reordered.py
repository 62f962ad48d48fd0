"""Layers of equal size beside a family that runs in another order now, as its sizes show.

The laterals of a pyramid were ``lateral.0`` to ``lateral.3`` and are ``inner.3`` to ``inner.0``: each has a
size of its own. Its outputs are of one size. They may run backwards now as well, whatever their numbers say.
So may the middle ones of layers of 64, 128, 128 and 256 channels that have 256, 128, 128 and 64 now.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
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


def among_reordered(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Finds the matches of layers of equal size in a family that runs in another order now, as others show.

    Returns each -> the new unit that it is if these run backwards, too, as at least two of the others do.
    """
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for members in _named(old, new, pairs).values():
        one, other = _varying([old[a] for a, _ in members]), _varying([new[b] for _, b in members])
        if not one or not other:
            continue
        kinds: defaultdict[Hashable, list[tuple[int, tuple[int, int]]]] = defaultdict(list)
        order = sorted(zip(one[1], other[1], members, strict=True))
        for _, number, pair in order:
            kinds[old[pair[0]].slot].append((number, pair))
        several = [held for held in kinds.values() if len(held) > 1 or old[held[0][1][0]].copies]
        sole = [number for _, number, (a, _) in order if not old[a].copies and len(kinds[old[a].slot]) == 1]
        for held in several if not increasing([number for _, number, _ in order]) else ():
            if _rises([(number, new[b]) for number, (_, b) in held]):
                back = len(sole) > 1 and increasing(sole[::-1])
                for (_, pair), (_, (_, mirrored)) in zip(held, held[::-1], strict=True):
                    doubtful = back and (pair[1] != mirrored or bool(old[pair[0]].copies))
                    found[pair] = (mirrored,) if doubtful else ()
    return found


def _rises(layers: Sequence[tuple[int, Unit]]) -> bool:
    """Whether the numbers of layers of equal size rise, and those of each one's copies."""
    copies = (level for _, unit in layers for level in unit.numbers)
    return increasing([number for number, _ in layers]) and all(
        increasing([*map(int, level)]) for level in copies
    )


def _rows(old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]) -> list[_Row]:
    found = []
    for (name, _), members in _named(old, new, pairs).items():
        one, other = _counted([old[a] for a, _ in members]), _counted([new[b] for _, b in members])
        if one and other and len(one[1]) == len(other[1]):
            order = tuple(sorted(zip(one[1], other[1], strict=True)))
            found.append(_Row(name, (one[0], other[0]), order, tuple(members)))
    return found


def _named(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """The matches of each pair of names, without the numbers in them."""
    names: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for a, b in pairs:
        names[without_numbers(old[a].path), without_numbers(new[b].path)].append((a, b))
    return names


def _counted(units: Sequence[Unit]) -> tuple[str, tuple[int, ...]] | None:
    """The module around layers of one name, and the number of each; None unless one tells them apart."""
    first = units[0]
    if len(units) == 1:
        alone = len(first.numbers) == 1
        return (_around(first.path, 0), tuple(map(int, first.numbers[0]))) if alone else None
    counted = None if any(unit.copies for unit in units) else _varying(units)
    return counted and (_around(first.path, counted[0]), counted[1])


def _varying(units: Sequence[Unit]) -> tuple[int, tuple[int, ...]] | None:
    """The place of the one number that tells layers of one name apart, and it of each; None if several do."""
    columns = list(zip(*(map(int, NUMBER.findall(unit.path)) for unit in units), strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or len(set(columns[varying[0]])) < len(units):
        return None
    return varying[0], columns[varying[0]]


def _around(path: str, place: int) -> str:
    """The module around a family, given the place of its number among those of the path."""
    before = path[: [match.start() for match in NUMBER.finditer(path)][place]]
    return before.rstrip(".").rpartition(".")[0]
