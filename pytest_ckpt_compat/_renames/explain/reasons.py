"""Puts the evidence for a match into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.units.units import Unit

#: Kind of evidence -> the least measure worth mentioning, and the words for it.
_WORDS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "name": (0.75, "similar names"),
        "modules": (0.75, "the modules around them correspond"),
        "endings": (0.75, "the same ending is renamed likewise elsewhere"),
        "neighbours": (1.0, "between the same neighbours"),
        "numbers": (0.75, "numbered in the same way"),
        "ancestry": (1.0, "in modules of the same classes"),
    }
)


def reasons(found: Alignment, old: Sequence[Unit]) -> dict[int, tuple[str, ...]]:
    """Returns index of a matched old unit -> the evidence for its match in words, the best first."""
    kinds = Counter(unit.kind for unit in old)
    rows = found.pairs.rows[found.chosen].tolist()
    result: dict[int, tuple[str, ...]] = {}
    for index, row in enumerate(rows):
        unit = old[row]
        texts = ["the only ones of this shape"] if kinds[unit.kind] == 1 else []
        texts += [
            text
            for name, (least, text) in _WORDS.items()
            if name in found.measures and found.measures[name][index] >= least
        ]
        if unit.copies:
            texts.append(f"the same in all {unit.copies[-1]} blocks")
        result[row] = tuple(texts) or ("the best overall assignment by name, order and shape",)
    return result
