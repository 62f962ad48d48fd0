"""What speaks for a match, in numbers: the input of the calibrated probability that it is right."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from pytest_ckpt_compat._renames.believe.blocks import block_maps
from pytest_ckpt_compat._renames.believe.interchangeable import interchangeable, rank_of
from pytest_ckpt_compat._renames.believe.reused_names import reused_names
from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.units.paths import modules_of
from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import Unit, shape_class

#: Share of the layers with a new name of their own from which on such a name is what to expect.
_MOST = 0.5


@dataclass(frozen=True, slots=True)
class Features:
    """The evidence for a match, each number about from 0 (none) to 1.

    Attributes:
        name: how similar the paths are in their words.
        modules: how far the modules around correspond.
        blocks: whether the numbers of the blocks around settle which is which.
        roles: whether both have the same biases and statistics.
        whole: the share of all changed layers that is matched, on the side that has fewer.
        rarity: how rare the kind of layer is in the two models.
        distinct: whether names and structure tell it from its siblings.
        complete: the same share, on the side that has more of them.
        cost: what its cheapest alternative costs, in units of the objective.
        dimensions: how many of its sizes are above 1.
        between: whether it stands between the same neighbours on both sides.
        vouched: whether its own name speaks for it, and those of its siblings of the same shape for them; or,
            without siblings, whether a new name is what to expect, because most layers got one.
        reused: the new units that stayed in a numbered family that it seems to have left or joined as the
            last: its name may have been passed on.
    """

    name: float
    modules: float
    blocks: float
    roles: float
    whole: float
    rarity: float
    distinct: float
    complete: float
    cost: float
    dimensions: int
    between: bool
    vouched: bool
    reused: tuple[int, ...] = ()


def features(old: Sequence[Unit], new: Sequence[Unit], found: Alignment) -> dict[tuple[int, int], Features]:
    """Returns the features of each chosen pair that is not the same on both sides."""
    rows, cols = found.pairs.rows[found.chosen].tolist(), found.pairs.cols[found.chosen].tolist()
    chosen = list(zip(rows, cols, strict=True))
    measures = {name: values.tolist() for name, values in found.measures.items()}
    kept = {(a, b) for a, b in chosen if _same(old[a], new[b])}
    moved = len(chosen) - len(kept)
    fewer, more = _changed(old, new, kept)
    blocks = block_maps(old, new, chosen)
    frequency = Counter(unit.kind for units in (old, new) for unit in units)
    alike = interchangeable(old, new, chosen)
    reused = reused_names(old, new, chosen)
    vouchers = _Vouchers(old, new, chosen)
    result: dict[tuple[int, int], Features] = {}
    for index, (a, b) in enumerate(chosen):
        if (a, b) in kept:
            continue
        doubt = found.doubts.get(a)
        result[a, b] = Features(
            name=measures["name"][index],
            modules=measures["modules"][index],
            blocks=blocks[a, b],
            roles=max(measures["roles"][index], -1.0),
            whole=min(moved / max(fewer, 1), 1.0),
            complete=min(moved / max(more, 1), 1.0),
            rarity=math.log2((len(old) + len(new)) / frequency[old[a].kind]) / 10,
            distinct=float(a not in alike),
            cost=doubt.cost if doubt else math.inf,
            dimensions=sum(size > 1 for size in old[a].main.shape),
            between=measures["neighbours"][index] >= 1,
            vouched=vouchers.vouch(a, b),
            reused=reused.get((a, b), ()),
        )
    return result


def _same(a: Unit, b: Unit) -> bool:
    """Whether the main tensor is unchanged: the same key, or the same parameter that one has parametrized."""
    if a.parts or b.parts:
        return False
    if a.tensors[0].key == b.tensors[0].key:
        return True
    forms = [{tensor.form for tensor in unit.tensors} for unit in (a, b)]
    return a.path == b.path and forms[0] != forms[1] and _parameters(a) == _parameters(b)


def _parameters(unit: Unit) -> set[tuple[str, tuple[int, ...]]]:
    return {(tensor.role, tensor.spec.shape) for tensor in unit.tensors if not tensor.part}


class _Vouchers:
    """Tells whether a layer's own name speaks for a match: not for its place alone.

    Args:
        old: units of the old side.
        new: units of the new side.
        chosen: the matches.
    """

    def __init__(self, old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]) -> None:
        self._names = ours, theirs = _own_names(old), _own_names(new)
        self._places = [_place(unit) for unit in old], [_place(unit) for unit in new]
        self._beside = _beside(self._places[0], ours), _beside(self._places[1], theirs)
        self._stayed = {(a, b) for a, b in chosen if ours[a] == theirs[b] or old[a].path == new[b].path}
        self._most_are_new = len(chosen) - len(self._stayed) > _MOST * len(chosen)
        self._ranked = _ranked(old, new, chosen)
        self._joint = {(a, b) for a, b in chosen if old[a].parts or new[b].parts}
        silent = [(a, b) for a, b in chosen if not self._speaks(a, b)]
        self._silent = {self._places[0][a] for a, _ in silent}, {self._places[1][b] for _, b in silent}

    def vouch(self, a: int, b: int) -> bool:
        """Whether the names of two matched layers, and of those beside them, speak for the match."""
        return self._places[0][a] not in self._silent[0] and self._places[1][b] not in self._silent[1]

    def _speaks(self, a: int, b: int) -> bool:
        """Whether the own names are equal, or share what tells them from others beside them, or count alike.

        Beside a layer are those of its shape in the same module. Without such, a new name is what to expect
        if most layers got one; the name of a joint layer has the words of its parts. A name that another
        layer beside the partner has speaks against the match.
        """
        if (a, b) in self._stayed:
            return True
        ours, theirs = self._names[0][a], self._names[1][b]
        one, other = self._beside[0][self._places[0][a]], self._beside[1][self._places[1][b]]
        if ours in other.names or theirs in one.names:
            return False
        if one.number < 2 and other.number < 2:
            joint = (a, b) in self._joint and (ours <= theirs or theirs <= ours)
            return joint or self._most_are_new
        if (a, b) in self._ranked:
            return self._most_are_new
        return not (ours & theirs) <= (one.common & other.common)


@dataclass(frozen=True)
class _Beside:
    """The layers of one shape in one module.

    Attributes:
        number: how many they are.
        names: their own names.
        common: the words that are in all of these.
    """

    number: int
    names: Set[frozenset[str]]
    common: frozenset[str]


def _beside(places: Sequence[Hashable], names: Sequence[frozenset[str]]) -> dict[Hashable, _Beside]:
    """Returns place -> the layers there."""
    found: defaultdict[Hashable, list[frozenset[str]]] = defaultdict(list)
    for place, name in zip(places, names, strict=True):
        found[place].append(name)
    return {place: _Beside(len(n), set(n), frozenset.intersection(*n)) for place, n in found.items()}


def _ranked(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """The matches of layers beside each other whose names all state a rank, in one order on both sides."""
    places: defaultdict[Hashable, list[tuple[float, float, int, int]]] = defaultdict(list)
    for a, b in chosen:
        ranks = rank_of(old[a].path), rank_of(new[b].path)
        places[_place(old[a]), _place(new[b])].append((*ranks, a, b))
    found: set[tuple[int, int]] = set()
    for members in places.values():
        members.sort()
        stated = not any(math.isnan(rank) for member in members for rank in member[:2])
        if stated and all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(members)):
            found.update((a, b) for _, _, a, b in members)
    return found


def _own_names(units: Sequence[Unit]) -> list[frozenset[str]]:
    """The words of each unit's last segment, and of the modules around that hold nothing else."""
    held = Counter(module for unit in units for module in modules_of(unit.path))
    found = []
    for unit in units:
        segments = unit.path.split(".")
        words = set(_last_words(unit.path))
        for depth in range(len(segments) - 1, 0, -1):
            if held[".".join(segments[:depth])] > 1:
                break
            words.update(segment_tokens(segments[depth - 1]))
        found.append(frozenset(words))
    return found


def _place(unit: Unit) -> Hashable:
    return unit.path.rpartition(".")[0], shape_class(unit.main), unit.copies


def _last_words(path: str) -> tuple[str, ...]:
    return next((words for words in map(segment_tokens, reversed(path.split("."))) if words), ())


def _changed(old: Sequence[Unit], new: Sequence[Unit], kept: Collection[tuple[int, int]]) -> tuple[int, int]:
    """Counts the changed layers of each side, and returns the smaller number first.

    Layers left over on both sides may be a replacement. Left over on one side alone, they were added or
    removed, which says little of the rest. Unchanged layers do not count: they do not show whether the
    rest was renamed or replaced. Nor do those that kept their path and have another size.
    """
    stayed = {unit.path for unit in old} & {unit.path for unit in new}
    one, other = (
        sum(index not in known and unit.path not in stayed for index, unit in enumerate(units))
        for units, known in ((old, {a for a, _ in kept}), (new, {b for _, b in kept}))
    )
    return min(one, other), max(one, other)
