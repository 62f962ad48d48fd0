"""Index maps ``j = i + c`` and ``j = c - i`` of numbered modules, learnt from all that lies in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

_NUMBERED = re.compile(r"(?P<family>.*?)(?P<number>\d{1,9})")


#: Worth of numbers that run backwards, against those that run on; a reversal is rare.
_FALLING = 0.8


class NumberRules:
    """How the numbers of modules (``layers.3``, ``stage3``) go over into each other.

    Attributes:
        old_families: family of each old module, as ``Groups`` numbers modules; 0 for one without a number.
        new_families: the same of the new modules.
    """

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        self.old_families, self._old_numbers = _families(old)
        self.new_families, self._new_numbers = _families(new)
        self._blocks: dict[tuple[int, int], tuple[tuple[Ints, ...], Ints, Ints]] = {}

    def agreement(self, votes: Floats, places: Ints) -> Floats:
        """For pairs of modules, the share of the other pairs of the two families that agree with it.

        They agree where they follow the same index map, be it upwards or downwards.

        Args:
            votes: how much speaks for each pair of modules.
            places: place of each in the flattened table of old and new modules.
        """
        import numpy as np

        table = np.zeros((len(self.old_families), len(self.new_families)))
        table.ravel()[places] = votes
        rules = np.zeros_like(table)
        a, b = np.nonzero(table)
        width = len(self.new_families)
        families, voters = np.unique(self.old_families[a] * width + self.new_families[b], return_counts=True)
        for family, other in zip(*divmod(families[voters > 1], width), strict=True):
            if family and other:
                inside, up, down = self._block(int(family), int(other))
                part = table[inside]
                elsewhere = (
                    part.sum() - part.sum(axis=1, keepdims=True) - part.sum(axis=0, keepdims=True) + part
                )
                rising, falling = (
                    np.bincount(line.ravel(), part.ravel())[line] - part for line in (up, down)
                )
                rules[inside] = np.maximum(rising, _FALLING * falling) / np.maximum(elsewhere, 1)
        found: Floats = rules.ravel()[places]
        return found

    def _block(self, family: int, other: int) -> tuple[tuple[Ints, ...], Ints, Ints]:
        """Where two families meet in the table, and which entries share an index map."""
        import numpy as np

        if (family, other) not in self._blocks:
            rows, cols = np.flatnonzero(self.old_families == family), np.flatnonzero(self.new_families == other)
            i, j = self._old_numbers[rows][:, None], self._new_numbers[cols][None, :]
            up, down = (np.unique(line, return_inverse=True)[1].reshape(line.shape) for line in (j - i, j + i))
            self._blocks[family, other] = np.ix_(rows, cols), up, down
        return self._blocks[family, other]


def _families(modules: Sequence[str]) -> tuple[Ints, Ints]:
    """Family and number of each module, counted from 1."""
    import numpy as np

    known: dict[str, int] = {}
    table = np.zeros((2, len(modules) + 1), dtype=np.intp)
    for place, module in enumerate(modules, start=1):
        found = _NUMBERED.fullmatch(module)
        if found:
            table[:, place] = known.setdefault(found["family"], len(known) + 1), int(found["number"])
    return table[0], table[1]
