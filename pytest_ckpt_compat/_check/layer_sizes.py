"""Other shapes of a layer's weight that are no other size: groups of a convolution, or another view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import Structure

_RESIZED: frozenset[Kind] = frozenset({"resized", "head-resized"})
#: Channels that images have, so that another number of them is just that.
_IMAGES = 4


def other_sizes(changes: Sequence[Change], _old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; what is no size to restore with what it is instead.

    Args:
        changes: what a load found, explained.
        new: the definition.
    """
    return [_viewed(each) or _grouped(each, new) or each for each in changes]


def group_sizes(changes: Sequence[Change], new: Structure) -> Iterator[tuple[int, int]]:
    """The (old, new) numbers of groups of convolutions that may differ in them."""
    for each in changes:
        if each.kind in _RESIZED and (found := _groups(each, new)):
            yield found


def _viewed(change: Change) -> Change | None:
    """A layer over what was flattened, and a convolution over all of it, have the same numbers."""
    if change.kind not in _RESIZED or change.advice:
        return None
    before, after = change.old_specs[0].shape, change.new_specs[0].shape
    flat, deep = sorted((before, after), key=len)
    alike = len(flat) == 2 < len(deep) and flat[0] == deep[0] and math.prod(flat) == math.prod(deep) > 0
    if not alike:
        return None
    sizes = ", ".join(map(str, after))
    order = "if its inputs were flattened with the channels first"
    advice = f"reshape it while loading (migrate=): reshape({sizes}), {order}"
    return replace(change, kind="transposed", detail="the same numbers, flattened or not", advice=advice)


def _grouped(change: Change, new: Structure) -> Change | None:
    found = _groups(change, new) if change.kind in _RESIZED and not change.advice else None
    if found is None:
        return None
    before, after = found
    inputs = change.old_specs[0].shape[1]
    told = f"groups {before} -> {after}, or {inputs} input channels -> {change.new_specs[0].shape[1]}"
    advice = f"build it with groups={before}, or with {inputs * after} input channels, as the file has it"
    return replace(change, kind="resized", detail=told, advice=advice)


def _groups(change: Change, new: Structure) -> tuple[int, int] | None:
    """The numbers of groups in the file and here, if these alone explain another shape of a weight."""
    before, after = change.old_specs[0].shape, change.new_specs[0].shape
    module, _, leaf = change.new[0].rpartition(".")
    given = (new.settings.get(module) or {}).get("groups", "")
    if leaf != "weight" or not given.isdecimal() or len(before) != len(after) or len(after) < 3:
        return None
    if before[0] != after[0] or before[2:] != after[2:] or not before[1]:
        return None
    inputs = after[1] * int(given)
    groups = inputs // before[1]
    if inputs <= _IMAGES or inputs % before[1] or before[0] % groups or groups == int(given):
        return None
    return groups, int(given)
