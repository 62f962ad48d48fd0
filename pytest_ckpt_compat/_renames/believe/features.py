"""What speaks for a match, in numbers: the input of the calibrated probability that it is right."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._renames.believe.blocks import block_maps
from pytest_ckpt_compat._renames.believe.interchangeable import interchangeable
from pytest_ckpt_compat._renames.believe.reused_names import reused_names
from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import Unit

#: From here on, the same ending renamed likewise elsewhere, or the likeness of names, vouches for a match.
_ELSEWHERE, _ALIKE = 0.9, 0.5

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
        vouched: whether its own name speaks for it, against its siblings of the same kind if it has any; or
            whether a new name is what to expect, because most layers got one.
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
    vouchers = _Vouchers(old, new)
    renamed = sum(_last_words(old[a].path) != _last_words(new[b].path) for a, b in chosen) / max(
        len(chosen), 1
    )
    result: dict[tuple[int, int], Features] = {}
    for index, (a, b) in enumerate(chosen):
        if (a, b) in kept:
            continue
        doubt = found.doubts.get(a)
        name, endings = measures["name"][index], measures["endings"][index]
        result[a, b] = Features(
            name=name,
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
            vouched=renamed > _MOST
            or vouchers.vouch(old[a], new[b], endings >= _ELSEWHERE or name >= _ALIKE),
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
    """Tells whether a layer's own name speaks for a match: not for its place alone."""

    def __init__(self, old: Sequence[Unit], new: Sequence[Unit]) -> None:
        self._siblings: defaultdict[Hashable, list[frozenset[str]]] = defaultdict(list)
        for side, units in enumerate((old, new)):
            for unit in units:
                self._siblings[side, _place(unit)].append(frozenset(_last_words(unit.path)))

    def vouch(self, one: Unit, other: Unit, similar: bool) -> bool:
        """Whether the last words are equal, or those that tell a layer from siblings of its kind.

        Without such siblings, a similar name is enough if no word of it was exchanged for another.
        """
        ours, theirs = frozenset(_last_words(one.path)), frozenset(_last_words(other.path))
        if ours == theirs:
            return True
        beside = self._siblings[0, _place(one)], self._siblings[1, _place(other)]
        if len(beside[0]) < 2 and len(beside[1]) < 2:
            return similar and (ours <= theirs or theirs <= ours)
        return not (ours & theirs) <= frozenset.intersection(*beside[0], *beside[1])


def _place(unit: Unit) -> Hashable:
    return unit.path.rpartition(".")[0], unit.kind


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
