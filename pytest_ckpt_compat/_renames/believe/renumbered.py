"""Layers beside each other whose numbers all moved on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import pairwise

from pytest_ckpt_compat._renames.match.index_maps import NUMBERED
from pytest_ckpt_compat._renames.units.units import Unit


def renumbered(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """The matches of layers beside each other whose numbers all moved on, and could not have stayed.

    ``bn0`` to ``bn2`` became ``bn1`` to ``bn3``: that the new side has a ``bn1``, too, says nothing if it has
    another size than the old one.
    """
    families: defaultdict[tuple[str, str], list[tuple[int, int, int, int]]] = defaultdict(list)
    for a, b in chosen:
        one, other = NUMBERED.fullmatch(old[a].path), NUMBERED.fullmatch(new[b].path)
        if one and other:
            member = int(one["number"]), int(other["number"]), a, b
            families[one["family"], other["family"]].append(member)
    held = _sizes(old), _sizes(new)
    found: set[tuple[int, int]] = set()
    for (ours, theirs), members in families.items():
        members.sort()
        rising = all(before[1] < after[1] for before, after in pairwise(members))
        whole = len(held[0][ours]) == len(members) == len(held[1][theirs])
        misfits = any(held[1][theirs].get(number, old[a].slot) != old[a].slot for number, _, a, _ in members)
        if rising and whole and misfits:
            found.update((a, b) for _, _, a, b in members)
    return found


def _sizes(units: Sequence[Unit]) -> dict[str, dict[int, Hashable]]:
    """Returns family -> number -> size of the layers whose names end in a number."""
    found: defaultdict[str, dict[int, Hashable]] = defaultdict(dict)
    for unit in units:
        if named := NUMBERED.fullmatch(unit.path):
            found[named["family"]][int(named["number"])] = unit.slot
    return found
