"""Finds layers that seem to have left a numbered family as its last member: a name may have been reused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from pytest_ckpt_compat._renames.match.index_maps import NUMBERED
from pytest_ckpt_compat._renames.units.units import Unit, shape_class


def left_families(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> dict[int, list[int]]:
    """Finds old units that left a numbered family as its last member.

    If ``norm3`` appears to have a new name beside an unchanged ``norm2``, the truth may as well be
    that ``norm2`` got that name, and that ``norm3`` is now called ``norm2``.

    Returns:
        Index of an old unit -> indexes of the new units that stayed in the family.
    """
    stayed: defaultdict[tuple[str, Hashable], list[tuple[int, int]]] = defaultdict(list)
    left: list[tuple[int, int, int, tuple[str, Hashable]]] = []
    for a, b in believed:
        ours, theirs = NUMBERED.fullmatch(old[a].path), NUMBERED.fullmatch(new[b].path)
        if not ours or old[a].parts:
            continue
        family = ours["family"], tuple((tensor.role, tensor.spec.shape) for tensor in old[a].tensors)
        if old[a].path == new[b].path:
            stayed[family].append((int(ours["number"]), b))
        elif not theirs or theirs["family"] != ours["family"]:
            left.append((a, b, int(ours["number"]), family))
    return {
        a: [index for _, index in stayed[family] if is_rival(new[index], new[b])]
        for a, b, number, family in left
        if stayed[family] and number > max(other for other, _ in stayed[family])
    }


def is_rival(unit: Unit, other: Unit) -> bool:
    """Whether two new units can hold the same numbers, as often."""
    return shape_class(unit.main) == shape_class(other.main) and unit.copies == other.copies
