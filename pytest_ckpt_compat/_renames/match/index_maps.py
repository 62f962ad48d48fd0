"""Learns index maps ``j = i + c`` and ``j = c - i`` between numbered modules from their contents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.groups import Places

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: A numbered module, as ``layers.3`` or ``stage3``.
NUMBERED = re.compile(r"(?P<family>.*?)(?P<number>\d{1,9})")

#: Weight of a reversed order against an equal one. A reversal is rare.
_FALLING = 0.8


class IndexMaps:
    """The index maps between the numbers of old and new modules (``layers.3``, ``stage3``).

    Attributes:
        old_numbered: whether each old module, by its index in ``Groups``, has a number.
        new_numbered: the same for the new modules.
    """

    def __init__(self, old: Sequence[str], new: Sequence[str], indexes: Ints) -> None:
        """Collects the families and numbers of both sides.

        Args:
            old: names of the old modules; indexes count from 1.
            new: names of the new modules; indexes count from 1.
            indexes: index of each pair in the flattened table of old and new modules.
        """
        import numpy as np

        old_families, old_numbers = _families(old)
        new_families, new_numbers = _families(new)
        self.old_numbered, self.new_numbered = old_families > 0, new_families > 0
        a, b = np.divmod(indexes, len(new) + 1)
        self._counts = self.old_numbered[a] & self.new_numbered[b]
        families = old_families[a] * (len(new) + 1) + new_families[b]
        i, j = old_numbers[a], new_numbers[b]
        self._families, self._rows, self._cols, self._rising, self._falling = (
            np.unique(np.stack([families, line]), axis=1, return_inverse=True)[1].ravel()
            for line in (np.zeros_like(i), i, j, j - i, j + i)
        )
        self._places = Places(len(indexes))

    def agreement(self, votes: Floats, pairs: Ints | None = None) -> Floats:
        """Returns the share of the other pairs of the two families that agree with each pair of modules.

        Pairs agree if they follow the same index map, rising or falling.

        Args:
            votes: weight of the evidence for each pair.
            pairs: the pairs that the votes are for; no others have any. None is all of them.
        """
        import numpy as np

        votes = votes * (self._counts if pairs is None else self._counts.take(pairs))

        def total(line: Ints) -> Floats:
            if pairs is not None:
                line = self._places.of(line.take(pairs))
            sums: Floats = np.bincount(line, votes).astype(np.float64)
            return sums[line]

        elsewhere = total(self._families) - total(self._rows) - total(self._cols) + votes
        agreeing = np.maximum(total(self._rising) - votes, _FALLING * (total(self._falling) - votes))
        share: Floats = agreeing / np.maximum(elsewhere, 1)
        return share


def _families(modules: Sequence[str]) -> tuple[Ints, Ints]:
    """Returns family and number of each module. Families count from 1; 0 means no number."""
    import numpy as np

    known: dict[str, int] = {}
    table = np.zeros((2, len(modules) + 1), dtype=np.intp)
    for index, module in enumerate(modules, start=1):
        found = NUMBERED.fullmatch(module)
        if found:
            table[:, index] = known.setdefault(found["family"], len(known) + 1), int(found["number"])
    return table[0], table[1]
