"""Numbered layers and blocks that got another number for themselves, and left a gap.

A module without weights was inserted, or the layer went while one that holds the same came. What is inserted
moves all that is behind it: in doubt are the last one alone, and one in front of another that stayed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from pytest_ckpt_compat._renames.believe.families import Family, number_of
from pytest_ckpt_compat._renames.believe.renumbered import numbered_families, sizes
from pytest_ckpt_compat._renames.units.paths import blocks_around
from pytest_ckpt_compat._renames.units.units import Unit


def left_gaps(counterparts: Mapping[str, str], ours: Family, theirs: Family) -> set[str]:
    """Returns the blocks that got another number for themselves, of families without gaps, and left one.

    One that became part of a block that holds more of other layers is none that moved; nor is one of two that
    became one.
    """
    moved: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for module, inner in counterparts.items():
        if not inner or theirs.size(inner) >= 2 * ours.size(module):
            continue
        # Of blocks that hold nothing but one block, the counterpart is the inner one.
        around = (each for each in blocks_around(f"{inner}.") if theirs.size(each) == theirs.size(inner))
        for target in around:
            if int(number_of(module)) not in theirs.beside(target):
                moved[module.rpartition(".")[0], target.rpartition(".")[0]].add(module)
    found: set[str] = set()
    for (_, parent), modules in moved.items():
        any_of_them = next(iter(modules))
        siblings = [each for each in ours.siblings(any_of_them) if counterparts.get(each)]
        joined = len(siblings) == 2 and len({counterparts[each] for each in siblings}) == 1
        if _gapless(ours.beside(any_of_them)) and not joined:
            kept = [f"{counterparts[each]}.".startswith(f"{parent}.{number_of(each)}.") for each in siblings]
            found |= modules.intersection(siblings[place] for place in _alone(kept))
    return found


def moved_alone(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches of layers that have numbers for names, and that moved for themselves.

    Of layers with other names (``fc1``), another number may count from another start.
    """
    held = sizes(old), sizes(new)
    found: set[tuple[int, int]] = set()
    for (ours, theirs), members in numbered_families(old, new, pairs):
        if not (ours.endswith(".") and theirs.endswith(".")):
            continue
        sides = held[0][ours], held[1][theirs]
        back = sorted((other, one, pair) for one, other, pair in members)
        for (here, there), rows in ((sides, members), (sides[::-1], back)):
            moved = _alone([one == other for one, other, _ in rows]) if _gapless(here) else ()
            found.update(rows[place][2] for place in moved if rows[place][0] not in there)
    return found


def one_moved_alone(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether one of several equal blocks got another number for itself, given the numbers of both sides."""
    kept = [one == other for one, other in zip(ours, theirs, strict=True)]
    return any(
        _gapless(here) and any(here[place] not in there for place in _alone(kept))
        for here, there in ((ours, theirs), (theirs, ours))
    )


def _alone(kept: Sequence[bool]) -> set[int]:
    """The places of those of a family that moved for themselves, given which kept their numbers, in order."""
    last = max((place for place, same in enumerate(kept) if same), default=-1)
    found = {place for place, same in enumerate(kept) if not same and place < last}
    return found | {last + 1} if 0 <= last == len(kept) - 2 else found


def _gapless(numbers: Collection[int]) -> bool:
    """Whether the numbers of a family, at least one, have no gap."""
    return max(numbers) - min(numbers) < len(set(numbers))
