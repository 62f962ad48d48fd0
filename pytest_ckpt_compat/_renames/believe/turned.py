"""Matrices that were transposed under their names, or exchanged them: the shapes of two show neither.

Frameworks that store matrices the other way round turn all of them, and one that fits no other shows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from pytest_ckpt_compat._renames.match.candidates import exact_shapes, squeezed
from pytest_ckpt_compat._renames.units.units import Unit


def turned_or_exchanged(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], int]:
    """Returns each match of a layer with its own transpose -> the new unit that it could as well be."""
    turned = [
        (a, b)
        for a, b in chosen
        if old[a].path == new[b].path and squeezed(old[a]) != squeezed(new[b]) and not old[a].parts
    ]
    if not turned or _is_forced(old, new):
        return {}
    places: defaultdict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for a, b in turned:
        if len(old[a].tensors) == len(new[b].tensors) == 1:
            places[old[a].path.rpartition(".")[0], old[a].kind].append((a, b))
    return {
        (a, b): d
        for members in places.values()
        for a, b in members
        for c, d in members
        if squeezed(old[a]) == squeezed(new[d]) and squeezed(old[c]) == squeezed(new[b])
    }


def _is_forced(old: Sequence[Unit], new: Sequence[Unit]) -> bool:
    """Whether as many layers of some kind have other exact shapes: no exchange of names explains that."""
    ours, theirs = exact_shapes(old), exact_shapes(new)
    return any(
        ours[kind] != theirs[kind] and ours[kind].total() == theirs[kind].total()
        for kind in ours.keys() & theirs.keys()
    )
