"""Numbered layers and blocks that got another number for themselves, and left a gap.

A module without weights was inserted, or the layer went while one that holds the same came. What is inserted
moves all that is behind it: in doubt are the last one alone, and one in front of another that stayed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from pytest_ckpt_compat._renames.believe.renumbered import numbered_families
from pytest_ckpt_compat._renames.match.index_maps import NUMBERED
from pytest_ckpt_compat._renames.units.units import Unit


def is_alone(kept: Sequence[bool], place: int) -> bool:
    """Whether one of a family moved for itself, given which of them kept their numbers, in order."""
    return any(kept[place + 1 :]) or (place == len(kept) - 1 > 0 and kept[place - 1])


def gapless(numbers: Collection[int]) -> bool:
    """Whether the numbers of a family, at least one, have no gap."""
    return max(numbers) - min(numbers) < len(set(numbers))


def moved_alone(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches of layers that have numbers for names, and that moved for themselves.

    Of layers with other names (``fc1``), another number may count from another start.
    """
    held = _numbers(old), _numbers(new)
    found: set[tuple[int, int]] = set()
    for (ours, theirs), members in numbered_families(old, new, pairs):
        if not (ours.endswith(".") and theirs.endswith(".")):
            continue
        sides = held[0][ours], held[1][theirs]
        back = sorted((other, one, pair) for one, other, pair in members)
        for (here, there), rows in ((sides, members), (sides[::-1], back)):
            kept = [one == other for one, other, _ in rows]
            for place, (one, _, pair) in enumerate(rows):
                moved = not kept[place] and one not in there
                if moved and gapless(here) and is_alone(kept, place):
                    found.add(pair)
    return found


def _numbers(units: Sequence[Unit]) -> dict[str, set[int]]:
    """Returns family -> the numbers of the layers in it."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for unit in units:
        if named := NUMBERED.fullmatch(unit.path):
            found[named["family"]].add(int(named["number"]))
    return found
