"""Finds layers that seem to have left or joined a numbered family as its last: a name may have been reused.

If ``norm2`` appears to have a new name beside an unchanged ``norm1``, the truth may as well be that ``norm1``
got that name, and that ``norm2`` is now called ``norm1``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from pytest_ckpt_compat._renames.match.index_maps import NUMBERED
from pytest_ckpt_compat._renames.units.units import Unit


def reused_names(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Returns each pair in doubt -> the new units that stayed in the family, which it may be as well."""
    left = _left([(old[a], new[b]) for a, b in pairs])
    joined = _left([(new[b], old[a]) for a, b in pairs])
    found = _still_there(old, new, pairs)
    for index, pair in enumerate(pairs):
        stayed = (*left.get(index, ()), *joined.get(index, ()))
        if stayed:
            found[pair] = tuple(dict.fromkeys(pairs[other][1] for other in stayed))
    return found


def _still_there(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Returns each pair of which either name is that of an unmatched layer of its size on the other side.

    The model and a copy of it are there now: the layer may be what it was, whatever else moved to the copy.
    """
    ours, theirs = ({pair[side] for pair in pairs} for side in (0, 1))
    left = {(unit.path, unit.slot) for a, unit in enumerate(old) if a not in ours}
    came = {(unit.path, unit.slot): b for b, unit in enumerate(new) if b not in theirs}
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for a, b in pairs:
        kept = came.get((old[a].path, old[a].slot))
        if kept is not None:
            found[a, b] = (kept,)
        elif (new[b].path, new[b].slot) in left:
            found[a, b] = (b,)
    return found


def _left(pairs: Sequence[tuple[Unit, Unit]]) -> dict[int, list[int]]:
    """Returns index of a pair whose first unit left its family -> the pairs that stayed in it."""
    stayed: defaultdict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    left: list[tuple[int, int, Hashable]] = []
    for index, (one, other) in enumerate(pairs):
        (parent, _, name), there = one.path.rpartition("."), other.path.rpartition(".")[2]
        ours, theirs = NUMBERED.fullmatch(name), NUMBERED.fullmatch(there)
        if not ours or not ours["family"] or one.parts:
            continue
        roles = tuple((tensor.role, tensor.spec.shape) for tensor in one.tensors)
        family = parent, ours["family"], roles, one.copies
        if name == there:
            stayed[family].append((int(ours["number"]), index))
        elif not theirs or theirs["family"] != ours["family"]:
            left.append((index, int(ours["number"]), family))
    return {
        index: [other for _, other in stayed[family]]
        for index, number, family in left
        if stayed[family] and number > max(other for other, _ in stayed[family])
    }
