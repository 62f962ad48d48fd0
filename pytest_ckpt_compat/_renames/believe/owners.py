"""What the classes of modules say of chosen matches, where both sides are code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pytest_ckpt_compat._renames.units.owners import Label, alike
from pytest_ckpt_compat._renames.units.units import Unit


def other_layers(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches whose layers are of different classes, and not because a class has a new name.

    A class has one if all its layers are matched with those of one other class, and these with no others.
    """
    pairs = [(match, old[match[0]].label, new[match[1]].label) for match in chosen]
    there: defaultdict[str, set[str]] = defaultdict(set)
    back: defaultdict[str, set[str]] = defaultdict(set)
    for _, one, other in pairs:
        if one and other and one.kind and other.kind:
            there[one.kind].add(other.kind)
            back[other.kind].add(one.kind)

    def differ(one: Label | None, other: Label | None) -> bool:
        if one is None or other is None or not one.kind or not other.kind:
            return False
        if one.name and one.name == other.name:
            return False
        return alike(one, other) < 0 or len(there[one.kind]) > 1 or len(back[other.kind]) > 1

    return {match for match, one, other in pairs if differ(one, other)}
