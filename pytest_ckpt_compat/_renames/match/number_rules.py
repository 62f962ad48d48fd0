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

#: A numbered module, as ``layers.3`` or ``stage3``.
NUMBERED = re.compile(r"(?P<family>.*?)(?P<number>\d{1,9})")


#: Worth of numbers that run backwards, against those that run on; a reversal is rare.
_FALLING = 0.8


class NumberRules:
    """How the numbers of modules (``layers.3``, ``stage3``) go over into each other.

    Attributes:
        old_numbered: for each old module, as ``Groups`` numbers them, whether it has a number.
        new_numbered: the same of the new modules.
    """

    def __init__(self, old: Sequence[str], new: Sequence[str], places: Ints) -> None:
        """Takes the modules of both sides, and the pairs of them in question.

        Args:
            old: names of the old modules, counted from 1.
            new: names of the new modules, counted from 1.
            places: place of each pair in the flattened table of old and new modules.
        """
        import numpy as np

        old_families, old_numbers = _families(old)
        new_families, new_numbers = _families(new)
        self.old_numbered, self.new_numbered = old_families > 0, new_families > 0
        a, b = np.divmod(places, len(new) + 1)
        self._counts = self.old_numbered[a] & self.new_numbered[b]
        families = old_families[a] * (len(new) + 1) + new_families[b]
        i, j = old_numbers[a], new_numbers[b]
        self._families, self._rows, self._cols, self._rising, self._falling = (
            np.unique(np.stack([families, line]), axis=1, return_inverse=True)[1].ravel()
            for line in (np.zeros_like(i), i, j, j - i, j + i)
        )

    def agreement(self, votes: Floats) -> Floats:
        """For each pair of modules, the share of the other pairs of the two families that agree with it.

        They agree where they follow the same index map, be it upwards or downwards.

        Args:
            votes: how much speaks for each pair.
        """
        import numpy as np

        votes = votes * self._counts

        def total(line: Ints) -> Floats:
            sums: Floats = np.bincount(line, votes).astype(np.float64)
            return sums[line]

        elsewhere = total(self._families) - total(self._rows) - total(self._cols) + votes
        agreeing = np.maximum(total(self._rising) - votes, _FALLING * (total(self._falling) - votes))
        share: Floats = agreeing / np.maximum(elsewhere, 1)
        return share


def _families(modules: Sequence[str]) -> tuple[Ints, Ints]:
    """Family and number of each module, counted from 1."""
    import numpy as np

    known: dict[str, int] = {}
    table = np.zeros((2, len(modules) + 1), dtype=np.intp)
    for place, module in enumerate(modules, start=1):
        found = NUMBERED.fullmatch(module)
        if found:
            table[:, place] = known.setdefault(found["family"], len(known) + 1), int(found["number"])
    return table[0], table[1]
