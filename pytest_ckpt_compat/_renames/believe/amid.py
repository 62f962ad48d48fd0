"""Vectors amid layers that came or went with them.

The length of a vector is mostly the width of the model, and agrees with that of any other. In a module of
which nothing else has a counterpart, a norm is rather that of the module than the one that went.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_ckpt_compat._renames.units.paths import modules_of
from pytest_ckpt_compat._renames.units.units import MATRIX, Unit


def amid_others(
    old: Sequence[Unit],
    new: Sequence[Unit],
    chosen: Sequence[tuple[int, int]],
    grown: Sequence[tuple[int, int]],
) -> set[tuple[int, int]]:
    """Returns the vectors in a module, of either side, in which only vectors are matched, and at most half.

    Args:
        old: units of the old side.
        new: units of the new side.
        chosen: the matches.
        grown: those of another size, which count as matched.
    """
    vectors = {(a, b) for a, b in chosen if old[a].dimensions < MATRIX and old[a].path != new[b].path}
    others = {*chosen, *grown} - vectors
    found: set[tuple[int, int]] = set()
    for side, units in enumerate((old, new)):
        around = [modules_of(unit.path) for unit in units]
        held = Counter(module for modules in around for module in modules)
        vouched = {module for pair in others for module in around[pair[side]]}
        here = Counter(module for pair in vectors for module in around[pair[side]])
        lonely = {module for module, number in here.items() if 2 * number <= held[module]} - vouched
        found |= {pair for pair in vectors if not lonely.isdisjoint(around[pair[side]])}
    return found
