"""Whether matches explain enough to be believed: different models share shapes, and names, by accident.

What tells a refactor from another model is the share of the smaller side that is explained, of the
whole and of every module in it: a refactored model may have one module replaced.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pytest_ckpt_compat.renames.blocks import modules_of
from pytest_ckpt_compat.renames.units import Unit

#: Share of the smaller side that must be explained. Measured: refactors 0.9 and more, different models
#: 0.6 and less.
_ENOUGH = 0.8

#: Share from which on nothing inside is looked at separately.
_NEARLY_ALL = 0.97


def accepted(old: Sequence[Unit], new: Sequence[Unit], matches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The matches (index of an old, of a new unit) that are believed.

    Units whose keys are the same on both sides are left out of the count: they are no evidence that
    the rest was renamed, rather than replaced.
    """
    kept = {(a, b) for a, b in matches if _same(old[a], new[b])}
    moved = [pair for pair in matches if pair not in kept]
    stayed_old, stayed_new = {a for a, _ in kept}, {b for _, b in kept}
    left_old = [place for place in range(len(old)) if place not in stayed_old]
    left_new = [place for place in range(len(new)) if place not in stayed_new]
    believed = _Judge(old, new, left_old, left_new, moved).believed()
    return [pair for pair in matches if pair in kept or pair in believed]


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

    def believed(self) -> set[tuple[int, int]]:
        """All matches, where the whole explains enough, but those of modules that do not."""
        if self._share("") < _ENOUGH:
            return set()
        believed: set[tuple[int, int]] = set()
        self._visit("", believed)
        return believed

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
        fewer = min(len(ours), len(theirs))
        return (_weight(self._old, matched) / max(smaller, 1) + len(matched) / max(fewer, 1)) / 2


def _by_module(units: Sequence[Unit], places: list[int]) -> defaultdict[str, list[int]]:
    inside: defaultdict[str, list[int]] = defaultdict(list)
    for place in places:
        for module in ("", *modules_of(units[place].path)):
            inside[module].append(place)
    return inside


def _weight(units: Sequence[Unit], places: list[int]) -> int:
    return sum(units[place].numel for place in places)
