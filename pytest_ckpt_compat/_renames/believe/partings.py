"""Where the paths of one side part from each other, for many pairs of them at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.believe.ranks import first_number, is_last, rank_of
from pytest_ckpt_compat._renames.match.groups import coded
from pytest_ckpt_compat._renames.units.paths import modules_of, template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


class Partings:
    """The modules at which paths part: ``a.left`` and ``a.right`` for ``a.left.x`` and ``a.right.x``.

    Each module has a number; what is known of a module stands at its number.
    """

    def __init__(self, paths: Sequence[str], contents: Mapping[str, Hashable]) -> None:
        """Takes the paths apart.

        Args:
            paths: paths of one side.
            contents: what each module around them holds, and each of them itself.
        """
        import numpy as np

        numbering: dict[str, int] = {}
        levels = [[numbering.setdefault(each, len(numbering)) for each in (*modules_of(p), p)] for p in paths]
        self._levels = np.full((len(paths), max(map(len, levels), default=0)), -1, dtype=np.intp)
        for index, numbers in enumerate(levels):
            self._levels[index, : len(numbers)] = numbers
        modules = list(numbering)
        self.templates = coded(map(template, modules))
        self._families = self.templates[1]
        self._contents = coded(contents[module] for module in modules)[1]
        names = [module.rpartition(".")[2] for module in modules]
        self._ranks = np.array([rank_of(name) for name in names], dtype=np.float64)
        self._firsts = np.array([first_number(name) for name in names], dtype=np.float64)
        self._last = np.array([is_last(name) for name in names], dtype=np.bool_)

    def modules(self, one: Ints, other: Ints) -> tuple[Ints, Ints]:
        """Returns the two modules at which two paths part; those at the top where one path goes on."""
        import numpy as np

        depth, parted = np.zeros(len(one), dtype=np.intp), np.zeros(len(one), dtype=np.bool_)
        for level in range(self._levels.shape[1]):
            a, b = self._levels[one, level], self._levels[other, level]
            differ = (a != b) & ~parted
            depth[differ & (a >= 0) & (b >= 0)] = level
            parted |= differ
        return self._levels[one, depth], self._levels[other, depth]

    def numbered(self, a: Ints, b: Ints) -> Bools:
        """Whether the names of two modules differ in bare numbers alone."""
        alike: Bools = self._families[a] == self._families[b]
        return alike

    def alike(self, a: Ints, b: Ints) -> Bools:
        """Whether two modules hold the same."""
        same: Bools = self._contents[a] == self._contents[b]
        return same

    def ranks(self, a: Ints, b: Ints) -> tuple[Floats, Floats]:
        """As ``ranks`` of two modules that are beside each other; NaN where a name states none."""
        import numpy as np

        one, other = self._ranks[a], self._ranks[b]
        excluded = (np.isnan(one) | np.isnan(other)) & (self._last[a] != self._last[b])
        one, other = np.where(excluded, self._last[a], one), np.where(excluded, self._last[b], other)
        stated = (one < other) | (other < one)
        return np.where(stated, one, self._firsts[a]), np.where(stated, other, self._firsts[b])
