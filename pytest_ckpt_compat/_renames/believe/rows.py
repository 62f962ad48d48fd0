"""Layers in a row, each with a number of its own, that nothing but the number tells apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set

from pytest_ckpt_compat._renames.believe.renumbered import numbered_families
from pytest_ckpt_compat._renames.units.paths import NUMBER, blocks_around, is_number, without_numbers
from pytest_ckpt_compat._renames.units.units import Unit


def of_longer_rows(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches of layers in a row with layers in blocks, of which one side has more of their size.

    ``blocks.0.smooth`` and ``blocks.1.smooth`` became two of ``smooth.0`` to ``smooth.2``: whatever else the
    blocks hold, nobody can say where one was put in.
    """
    free = [
        {(without_numbers(unit.path), unit.slot) for index, unit in enumerate(units) if index not in matched}
        for units, matched in ((old, {a for a, _ in pairs}), (new, {b for _, b in pairs}))
    ]

    def is_longer(unit: Unit, others: Set[object]) -> bool:
        return (without_numbers(unit.path), unit.slot) in others

    return {
        (a, b)
        for a, b in pairs
        if _in_row(old[a].path) is not _in_row(new[b].path)
        if NUMBER.search(old[a].path) and NUMBER.search(new[b].path)
        if is_longer(old[a], free[0]) or is_longer(new[b], free[1])
    }


def out_of_step(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Finds the matches of layers in longer rows that part them from the layers beside them in their blocks.

    ``levels.0.lateral`` is ``lateral.1``, as its size shows; ``levels.0.smooth`` seems to be ``smooth.0``.
    Returns each -> the new unit in step with those. Those of the same names with nothing beside are in doubt
    as well, each with itself.
    """
    longer = of_longer_rows(old, new, pairs)
    places = {(a, b): _place(old[a].path, new[b].path) for a, b in pairs} if longer else {}
    beside = {place for pair, place in places.items() if place and pair not in longer}
    index = {unit.path: number for number, unit in enumerate(new)}
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    lone: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    parted: set[tuple[str, str]] = set()
    for a, b in longer:
        names = without_numbers(old[a].path), without_numbers(new[b].path)
        place = places[a, b]
        here, there = place or ("", "")
        meant = {other for one, other in beside if one == here}
        if place and len(meant) == 1 and there not in meant:
            path = new[b].path
            other = meant.pop()
            rival = path[: path.rindex(there)] + other + path[path.rindex(there) + len(there) :]
            found[a, b] = (index.get(rival, b),)
            parted.add(names)
        elif not meant:
            lone[names].append((a, b))
    found.update(((a, b), (b,)) for names in parted for a, b in lone[names])
    return found


def _place(one: str, other: str) -> tuple[str, str] | None:
    """The block or the number in a row that a layer has on either side; None if it has two of a kind."""
    if _in_row(one) is _in_row(other):
        return None
    places = [
        NUMBER.findall(path)[-1:] if _in_row(path) else blocks_around(path)[-1:] for path in (one, other)
    ]
    return (places[0][0], places[1][0]) if all(places) else None


def _in_row(path: str) -> bool:
    """Whether a layer has a number for a name, or the only one in its path at its end."""
    alone = path[-1:].isdecimal() and len(NUMBER.findall(path)) == 1
    return alone or is_number(path.rpartition(".")[2])


def with_names_passed_on(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches of layers in a row of which either name is still there, for those of the same size.

    ``gates.0`` seems to be ``linears.0`` now, and ``fcs.0`` to be ``gates.0``: they may be what they were.
    """
    ours, theirs = ({unit.path: unit.main.shape for unit in units} for units in (old, new))
    found: set[tuple[int, int]] = set()
    for (before, after), members in numbered_families(old, new, pairs):
        passed = {
            old[a].main.shape
            for _, _, (a, b) in members
            if before != after and old[a].main.shape in (theirs.get(old[a].path), ours.get(new[b].path))
        }
        found.update(pair for _, _, pair in members if old[pair[0]].main.shape in passed)
    return found
