"""Decides whether matches explain enough to be believed.

Different models share shapes and names by accident. The share of the smaller side that the matches
explain distinguishes a refactor from a different model. It is measured for the whole model and for
every module, because a refactor may replace one module.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.units.parametrized import MAIN
from pytest_ckpt_compat._renames.units.paths import prefixes_of
from pytest_ckpt_compat._renames.units.units import Unit

#: Least share of the smaller side that matches must explain. Measured: refactors at least 0.99,
#: different models at most 0.6, models of the same design and width up to 0.86 (one pair 0.93).
_ENOUGH = 0.86

#: Least share that must remain once modules that explain too little are excluded.
_STILL_ENOUGH = 0.7

#: Least product of that share and the mean coherence. Measured: refactors at least 0.5, accidents 0.4.
_COHERENT = 0.42

#: Similarity of name or modules below which vectors match only by accident of their length.
_LEAST_KINSHIP = 0.1

#: Coherence of a match that has the same neighbours on both sides, whatever its name.
_BETWEEN_NEIGHBOURS = 0.5

#: Share from which a module is believed as a whole, without a look at the modules inside.
_NEARLY_ALL = 0.97


def believed_matches(
    old: Sequence[Unit], new: Sequence[Unit], matches: Mapping[tuple[int, int], Support]
) -> list[tuple[int, int]]:
    """Selects the matches that are believed.

    Units with equal keys on both sides do not count: they do not show whether the rest was renamed
    or replaced.

    Args:
        old: units of the old side.
        new: units of the new side.
        matches: (index of an old unit, index of a new unit) -> the support of that match.
    """
    kept = {(a, b) for a, b in matches if _same(old[a], new[b])}
    moved = {pair: support for pair, support in matches.items() if pair not in kept}
    stayed_old, stayed_new = {a for a, _ in kept}, {b for _, b in kept}
    left_old = [index for index in range(len(old)) if index not in stayed_old]
    left_new = [index for index in range(len(new)) if index not in stayed_new]
    coherence = sum(each.coherence for each in matches.values()) / max(len(matches), 1)
    believed = _Judge(old, new, left_old, left_new, list(moved)).believed(coherence)
    return [
        (a, b)
        for a, b in matches
        if (a, b) in kept or ((a, b) in believed and (_has_shape(old[a]) or _is_supported(moved[a, b])))
    ]


def _is_supported(support: Support) -> bool:
    """Whether name, modules or neighbours support a match of vectors, not their length alone."""
    return support.kinship >= _LEAST_KINSHIP or support.coherence >= _BETWEEN_NEIGHBOURS


def _has_shape(unit: Unit) -> bool:
    """Whether the shape is more than one width, which half the model may share."""
    return sum(size > 1 for size in unit.main.shape) > 1


@dataclass(frozen=True)
class Support:
    """The support of a match besides its shape.

    Attributes:
        coherence: mean of the two highest measures among name, modules and neighbours.
        kinship: the higher measure of name and modules.
    """

    coherence: float
    kinship: float


def support(found: Alignment) -> dict[tuple[int, int], Support]:
    """Returns each chosen pair with its support."""
    rows, cols = found.pairs.rows[found.chosen].tolist(), found.pairs.cols[found.chosen].tolist()
    measures = zip(
        *(found.measures[kind].tolist() for kind in ("name", "modules", "neighbours")), strict=True
    )
    return {
        pair: Support(sum(sorted((name, modules, beside))[1:]) / 2, max(name, modules))
        for pair, (name, modules, beside) in zip(zip(rows, cols, strict=True), measures, strict=True)
    }


def _same(a: Unit, b: Unit) -> bool:
    """Whether both have the same keys, or the same parameters that only one of them has parametrized."""
    if a.parts or b.parts:
        return False
    if {tensor.key for tensor in a.tensors} == {tensor.key for tensor in b.tensors}:
        return True
    forms = [{tensor.form for tensor in unit.tensors} for unit in (a, b)]
    return a.path == b.path and forms[0] != forms[1] and _parameters(a) == _parameters(b)


def _parameters(unit: Unit) -> set[tuple[str, tuple[int, ...]]]:
    return {(tensor.role, tensor.spec.shape) for tensor in unit.tensors if tensor.part == MAIN}


class _Judge:
    """Walks the module tree of the old side, and decides which modules explain enough.

    A module is known by its prefix, with the dot.
    """

    def __init__(
        self,
        old: Sequence[Unit],
        new: Sequence[Unit],
        left_old: list[int],
        left_new: list[int],
        moved: list[tuple[int, int]],
    ) -> None:
        self._old, self._new = old, new
        self._partner = dict(moved)
        self._inside_old, self._inside_new = _by_module(old, left_old), _by_module(new, left_new)

    def believed(self, coherence: float) -> set[tuple[int, int]]:
        """Returns the matches of modules that explain enough; none if the whole model does not."""
        share = self._share("")
        if share < _ENOUGH or share * coherence < _COHERENT:
            return set()
        believed = self._visited()
        self._partner = dict(believed)
        return believed if self._share("") >= _STILL_ENOUGH else set()

    def _visited(self) -> set[tuple[int, int]]:
        """Returns the matches of the modules that explain enough, from the root down."""
        believed: set[tuple[int, int]] = set()
        #: Modules to visit, with their share if it is known.
        open_modules: list[tuple[str, float | None]] = [("", None)]
        while open_modules:
            module, known = open_modules.pop()
            indexes = self._inside_old[module]
            share = self._share(module) if known is None else known
            if share >= _NEARLY_ALL:
                believed.update((a, self._partner[a]) for a in indexes if a in self._partner)
                continue
            below: dict[str, None] = {}
            for index in indexes:
                path = self._old[index].path
                end = path.find(".", len(module))
                if end >= 0:
                    below[path[: end + 1]] = None
                elif share >= _ENOUGH and index in self._partner:
                    believed.add((index, self._partner[index]))
            for inner in below:
                same = module and len(self._inside_old[inner]) == len(indexes)
                open_modules.append((inner, share if same else None))
        return believed

    def _share(self, module: str) -> float:
        """Returns the explained share of a module or its best counterpart, whichever is smaller."""
        indexes = self._inside_old[module]
        votes: Counter[str] = Counter()
        for index in indexes:
            if index in self._partner:
                for other in prefixes_of(self._new[self._partner[index]].path):
                    votes[other] += 1
        total = len(indexes)
        counterpart = max(
            votes, key=lambda other: votes[other] / (total + len(self._inside_new[other])), default=""
        )
        return self._explained(indexes, self._inside_new[counterpart if module else ""])

    def _explained(self, ours: list[int], theirs: list[int]) -> float:
        inside = set(theirs)
        matched = [index for index in ours if self._partner.get(index, -1) in inside]
        smaller = min(_weight(self._old, ours), _weight(self._new, theirs))
        fewer = min(_number(self._old, ours), _number(self._new, theirs))
        return (
            _weight(self._old, matched) / max(smaller, 1) + _number(self._old, matched) / max(fewer, 1)
        ) / 2


def _by_module(units: Sequence[Unit], indexes: list[int]) -> defaultdict[str, list[int]]:
    inside: defaultdict[str, list[int]] = defaultdict(list)
    for index in indexes:
        for module in prefixes_of(units[index].path):
            inside[module].append(index)
    return inside


def _number(units: Sequence[Unit], indexes: list[int]) -> int:
    return sum(math.prod(units[index].copies) for index in indexes)


def _weight(units: Sequence[Unit], indexes: list[int]) -> int:
    return sum(units[index].numel for index in indexes)
