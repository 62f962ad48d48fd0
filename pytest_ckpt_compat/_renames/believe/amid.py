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
    vectors = {(a, b) for a, b in chosen if _is_vector(old[a]) and old[a].path != new[b].path}
    known = [*chosen, *grown]
    found: set[tuple[int, int]] = set()
    for side, units in enumerate((old, new)):
        held = Counter(module for unit in units for module in modules_of(unit.path))
        here = Counter(module for pair in known for module in modules_of(units[pair[side]].path))
        vouched = {m for pair in known if pair not in vectors for m in modules_of(units[pair[side]].path)}
        lonely = {module for module, number in here.items() if 2 * number <= held[module]} - vouched
        found |= {pair for pair in vectors if lonely.intersection(modules_of(units[pair[side]].path))}
    return found


def _is_vector(unit: Unit) -> bool:
    return sum(size > 1 for size in unit.main.shape) < MATRIX
