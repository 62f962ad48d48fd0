"""Layers beside each other whose numbers all moved on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from pytest_ckpt_compat._renames.believe.ranks import increasing
from pytest_ckpt_compat._renames.match.index_maps import NUMBERED
from pytest_ckpt_compat._renames.units.units import Unit


def renumbered(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """The matches of layers beside each other whose numbers all moved on, and could not have stayed.

    ``bn0`` to ``bn2`` became ``bn1`` to ``bn3``: that the new side has a ``bn1``, too, says nothing if it has
    another size than the old one.
    """
    held = sizes(old), sizes(new)
    found: set[tuple[int, int]] = set()
    for (ours, theirs), members in numbered_families(old, new, chosen):
        rising = increasing([number for _, number, _ in members])
        whole = len(held[0][ours]) == len(members) == len(held[1][theirs])
        slots = ((number, old[a].slot) for number, _, (a, _) in members)
        if rising and whole and any(held[1][theirs].get(number, slot) != slot for number, slot in slots):
            found.update(pair for _, _, pair in members)
    return found


def numbered_families(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[tuple[str, str], list[tuple[int, int, tuple[int, int]]]]]:
    """Yields the names before the numbers at the end, of both sides -> (number, number, pair), in order."""
    families: defaultdict[tuple[str, str], list[tuple[int, int, tuple[int, int]]]] = defaultdict(list)
    for a, b in pairs:
        ours, theirs = NUMBERED.fullmatch(old[a].path), NUMBERED.fullmatch(new[b].path)
        if ours and theirs:
            member = int(ours["number"]), int(theirs["number"]), (a, b)
            families[ours["family"], theirs["family"]].append(member)
    for family, members in families.items():
        yield family, sorted(members)


def sizes(units: Sequence[Unit]) -> dict[str, dict[int, Hashable]]:
    """Returns family -> number -> size of the layers whose names end in a number."""
    found: defaultdict[str, dict[int, Hashable]] = defaultdict(dict)
    for unit in units:
        if named := NUMBERED.fullmatch(unit.path):
            found[named["family"]][int(named["number"])] = unit.slot
    return found
