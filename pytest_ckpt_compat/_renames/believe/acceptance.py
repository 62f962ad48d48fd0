"""Whether matches explain enough to be believed: different models share shapes, and names, by accident.

What tells a refactor from another model is the share of the smaller side that is explained, of the
whole and of every module in it: a refactored model may have one module replaced.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.units.blocks import modules_of
from pytest_ckpt_compat._renames.units.units import Unit

#: Share of the smaller side that must be explained. Measured: refactors 0.99 and more, unlike models
#: 0.6 and less, models of one design and width up to 0.86 (and one pair of 0.93).
_ENOUGH = 0.86

#: What must still be explained when modules that explain too little were left out.
_STILL_ENOUGH = 0.7

#: That share times the mean support of the matches. Measured: refactors 0.5 and more, accidents 0.4.
_COHERENT = 0.42

#: Likeness of name or modules below which a match of vectors is an accident of their length.
_KIN = 0.1

#: Coherence of a match that lies between the same neighbours on both sides, whatever its name.
_IN_PLACE = 0.5

#: Share from which on nothing inside is looked at separately.
_NEARLY_ALL = 0.97


def accepted(
    old: Sequence[Unit], new: Sequence[Unit], matches: Mapping[tuple[int, int], Support]
) -> list[tuple[int, int]]:
    """The matches that are believed.

    Units whose keys are the same on both sides are left out of the count: they are no evidence that
    the rest was renamed, rather than replaced.

    Args:
        old: units of the old side.
        new: units of the new side.
        matches: index of an old and of a new unit -> what supports it.
    """
    kept = {(a, b) for a, b in matches if _same(old[a], new[b])}
    moved = {pair: support for pair, support in matches.items() if pair not in kept}
    stayed_old, stayed_new = {a for a, _ in kept}, {b for _, b in kept}
    left_old = [place for place in range(len(old)) if place not in stayed_old]
    left_new = [place for place in range(len(new)) if place not in stayed_new]
    coherence = sum(each.coherence for each in matches.values()) / max(len(matches), 1)
    believed = _Judge(old, new, left_old, left_new, list(moved)).believed(coherence)
    return [
        (a, b)
        for a, b in matches
        if (a, b) in kept or ((a, b) in believed and (_telling(old[a]) or _kin(moved[a, b])))
    ]


def _kin(support: Support) -> bool:
    """Whether more than its length speaks for a match of vectors: its name, its module, its place."""
    return support.kinship >= _KIN or support.coherence >= _IN_PLACE


def _telling(unit: Unit) -> bool:
    """Whether the shape says more than a width that half the model shares."""
    return sum(size > 1 for size in unit.main.shape) > 1


@dataclass(frozen=True)
class Support:
    """What supports a match besides its shape.

    Attributes:
        coherence: mean of the two that speak best for it, of name, modules and neighbours.
        kinship: the better of name and modules.
    """

    coherence: float
    kinship: float


def support(found: Alignment) -> dict[tuple[int, int], Support]:
    """Each chosen pair and what supports it."""
    rows, cols = found.pairs.rows[found.chosen].tolist(), found.pairs.cols[found.chosen].tolist()
    measures = zip(
        *(found.measures[kind].tolist() for kind in ("name", "modules", "neighbours")), strict=True
    )
    return {
        pair: Support(sum(sorted((name, modules, beside))[1:]) / 2, max(name, modules))
        for pair, (name, modules, beside) in zip(zip(rows, cols, strict=True), measures, strict=True)
    }


def _same(a: Unit, b: Unit) -> bool:
    return not a.parts and not b.parts and {t.key for t in a.tensors} == {t.key for t in b.tensors}


class _Judge:
    """Walks the module tree of the old side."""

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
        """All matches, where the whole explains enough, but those of modules that do not."""
        share = self._share("")
        if share < _ENOUGH or share * coherence < _COHERENT:
            return set()
        believed: set[tuple[int, int]] = set()
        self._visit("", believed)
        self._partner = dict(believed)
        return believed if self._share("") >= _STILL_ENOUGH else set()

    def _visit(self, module: str, believed: set[tuple[int, int]]) -> None:
        places = self._inside_old[module]
        share = self._share(module)
        if share >= _NEARLY_ALL:
            believed.update((a, self._partner[a]) for a in places if a in self._partner)
            return
        start = len(module) + 1 if module else 0
        below: dict[str, None] = {}
        for place in places:
            path = self._old[place].path
            end = path.find(".", start)
            if end >= 0:
                below[path[:end]] = None
            elif share >= _ENOUGH and place in self._partner:
                believed.add((place, self._partner[place]))
        for inner in below:
            self._visit(inner, believed)

    def _share(self, module: str) -> float:
        """Share of the smaller of a module and its best counterpart that is explained."""
        places = self._inside_old[module]
        votes: Counter[str] = Counter()
        for place in places:
            if place in self._partner:
                for other in ("", *modules_of(self._new[self._partner[place]].path)):
                    votes[other] += 1
        total = len(places)
        counterpart = max(
            votes, key=lambda other: votes[other] / (total + len(self._inside_new[other])), default=""
        )
        return self._explained(places, self._inside_new[counterpart if module else ""])

    def _explained(self, ours: list[int], theirs: list[int]) -> float:
        inside = set(theirs)
        matched = [place for place in ours if self._partner.get(place, -1) in inside]
        smaller = min(_weight(self._old, ours), _weight(self._new, theirs))
        fewer = min(_number(self._old, ours), _number(self._new, theirs))
        return (
            _weight(self._old, matched) / max(smaller, 1) + _number(self._old, matched) / max(fewer, 1)
        ) / 2


def _by_module(units: Sequence[Unit], places: list[int]) -> defaultdict[str, list[int]]:
    inside: defaultdict[str, list[int]] = defaultdict(list)
    for place in places:
        for module in ("", *modules_of(units[place].path)):
            inside[module].append(place)
    return inside


def _number(units: Sequence[Unit], places: list[int]) -> int:
    return sum(math.prod(units[place].copies) for place in places)


def _weight(units: Sequence[Unit], places: list[int]) -> int:
    return sum(units[place].numel for place in places)
