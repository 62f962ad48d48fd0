"""Heads of language models.

Such a head has the shape of the embedding at the other end, which no other layer has: as many rows as words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from pytest_ckpt_compat._renames.match.leftovers import ends_model
from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import MATRIX, Unit


def over_vocabulary(
    old: Sequence[Unit],
    new: Sequence[Unit],
    kept: Collection[tuple[int, int]],
    moved: Sequence[tuple[int, int]],
    ordered: tuple[bool, bool],
) -> set[tuple[int, int]]:
    """Returns the matches of heads that have the shape of an embedding that stayed, and no other layer has.

    Args:
        old: units of the old side.
        new: units of the new side.
        kept: the matches that are the same on both sides.
        moved: the others.
        ordered: whether each side stands in the order of its model; if not, it need not show a head.
    """
    tables = {old[a].main.shape for a, _ in kept if _is_embedding(old[a])}
    held = [Counter(unit.main.shape for unit in units) for units in (old, new)]
    return {
        (a, b)
        for a, b in moved
        if old[a].main.shape in tables
        and all(side[old[a].main.shape] == 2 for side in held)
        and (ends_model(old[a], old) or not ordered[0])
        and (ends_model(new[b], new) or not ordered[1])
    }


def _is_embedding(unit: Unit) -> bool:
    shape = unit.main.shape
    named = any({"embed", "token"}.intersection(segment_tokens(name)) for name in unit.path.split("."))
    return named and len(shape) == MATRIX and shape[0] > shape[1]
