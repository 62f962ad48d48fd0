"""What speaks for a match, in numbers: the input of the calibrated probability that it is right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._renames.believe.amid import amid_others
from pytest_ckpt_compat._renames.believe.beside import explained_beside
from pytest_ckpt_compat._renames.believe.blocks import block_maps, more_of_the_same
from pytest_ckpt_compat._renames.believe.elsewhere import contradicted
from pytest_ckpt_compat._renames.believe.interchangeable import interchangeable
from pytest_ckpt_compat._renames.believe.owners import other_layers
from pytest_ckpt_compat._renames.believe.parts import NEARLY_ALL, explained_parts
from pytest_ckpt_compat._renames.believe.reordered import among_reordered
from pytest_ckpt_compat._renames.believe.reused_names import reused_names
from pytest_ckpt_compat._renames.believe.rows import out_of_step
from pytest_ckpt_compat._renames.believe.several import one_of_several
from pytest_ckpt_compat._renames.believe.strayed import strayed
from pytest_ckpt_compat._renames.believe.torn import torn
from pytest_ckpt_compat._renames.believe.vocabulary import over_vocabulary
from pytest_ckpt_compat._renames.believe.vouchers import Vouchers
from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.match.leftovers import grown
from pytest_ckpt_compat._renames.units.tokens import opposed
from pytest_ckpt_compat._renames.units.units import Unit
from pytest_ckpt_compat._renames.units.word_order import crossed, turned

#: Share of the layers above which they are most: of those that changed, are matched; of all, are strangers.
_MOST = 0.5

#: Likeness of names or modules below which nothing but shape and place speaks for a match.
KINSHIP = 0.1


@dataclass(frozen=True, slots=True)
class Features:
    """The evidence for a match, each number about from 0 (none) to 1.

    Attributes:
        name: how similar the paths are in their words.
        modules: how far the modules around correspond.
        blocks: whether the numbers of the blocks around settle which is which.
        roles: whether both have the same biases and statistics.
        whole: the share of all changed layers that is matched, on the side that has fewer; or the share of
            those in the module around that keeps as many layers, if larger.
        rarity: how rare the kind of layer is in the two models.
        distinct: whether names and structure tell it from its siblings.
        complete: the same share, on the side that has more of them; or, where most are
            matched, that of a rich part around, if larger.
        cost: what its cheapest alternative costs, in units of the objective.
        dimensions: how many of its sizes are above 1.
        between: whether it stands between the same neighbours on both sides.
        vouched: whether its own name speaks for it, and those of its siblings of the same shape for them; or,
            without siblings, whether a new name is what to expect, because most layers got one. If most names
            have nothing in common, place and shape alone do not speak.
        reused: the new units that stayed in a numbered family that it seems to have left or joined as the
            last: its name may have been passed on; or one of its size that others beside it point to.
        other_class: whether the layers are of different classes, where these are known.
        opposed: whether their names have words that exclude each other, or say another order of their parts.
        turned: whether the words of its own name stand in another order.
        other_form: whether one has a parameter in another form, as under weight norm.
        several: whether a part beside of equal content kept its name, so that these may be two parts.
        tossed: whether names and structure fit a sibling as well, no name counts, and the file has no order.
        contradicted: whether a sibling has the name that layers of its name got elsewhere, and the file no
            order.
        torn: whether it takes the layer out of its block, of which most are in another one.
        strayed: whether it alone joined or left a module of which the rest is what it was.
        amid: whether it is a vector in a module that came or went with other layers.
        is_norm: whether it is a vector with a bias or statistics. Of a single number, nobody can say.
        vocabulary: whether it is a head that has the shape of an embedding that stayed.
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
    other_class: bool = False
    opposed: bool = False
    turned: bool = False
    other_form: bool = False
    several: bool = False
    tossed: bool = False
    contradicted: bool = False
    torn: bool = False
    strayed: bool = False
    amid: bool = False
    is_norm: bool = False
    vocabulary: bool = False


def features(old: Sequence[Unit], new: Sequence[Unit], found: Alignment) -> dict[tuple[int, int], Features]:
    """Returns the features of each chosen pair that is not the same on both sides."""
    rows, cols = found.pairs.rows[found.chosen].tolist(), found.pairs.cols[found.chosen].tolist()
    chosen = list(zip(rows, cols, strict=True))
    measures = {name: values.tolist() for name, values in found.measures.items()}
    kept = {(a, b) for a, b in chosen if _same(old[a], new[b])}
    moved = [pair for pair in chosen if pair not in kept]
    resized = grown(old, new, chosen)
    counted = _changed(old, new, chosen, kept, resized)
    fewer, more = sorted(map(len, counted))
    whole, complete = (min(len(moved) / max(number, 1), 1.0) for number in (fewer, more))
    parts = explained_parts(old, new, moved, counted)
    here = explained_beside(old, new, kept, moved, counted)
    among = among_reordered(old, new, chosen)
    blocks = block_maps(old, new, chosen, among.keys())
    frequency = Counter(unit.kind for units in (old, new) for unit in units)
    amid = amid_others(old, new, chosen, resized)
    alike = interchangeable(old, new, [pair for pair in chosen if pair not in amid])
    reused = {**among, **out_of_step(old, new, chosen), **reused_names(old, new, chosen)}
    vouchers = Vouchers(old, new, chosen)
    foreign = _foreign(chosen, measures)
    unlike = other_layers(old, new, chosen)
    several = one_of_several(old, new, chosen)
    against = set() if all(found.ordered) else contradicted(old, new, chosen, alike)
    apart = torn(old, new, chosen)
    alone = strayed(old, new, chosen)
    vocabulary = over_vocabulary(old, new, kept, moved, found.ordered)
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
            whole=max(whole, here[a, b]),
            complete=max(complete, parts[a, b]) if complete > _MOST or whole > NEARLY_ALL else complete,
            rarity=math.log2((len(old) + len(new)) / frequency[old[a].kind]) / 10,
            distinct=float(a not in alike),
            cost=doubt.cost if doubt else math.inf,
            dimensions=old[a].dimensions,
            between=measures["neighbours"][index] >= 1,
            vouched=vouchers.vouch(a, b) and (a, b) not in foreign,
            reused=reused.get((a, b), ()),
            other_class=(a, b) in unlike,
            opposed=opposed(old[a].path, new[b].path) or _speaks_of_order(crossed, old[a], new[b]),
            turned=_speaks_of_order(turned, old[a], new[b]),
            other_form=_parts(old[a]) != _parts(new[b]),
            several=(a, b) in several,
            tossed=a in alike and not all(found.ordered) and measures["ordinals"][index] <= 0,
            contradicted=(a, b) in against,
            torn=(a, b) in apart,
            strayed=(a, b) in alone,
            amid=(a, b) in amid,
            is_norm=_is_norm(old[a]),
            vocabulary=(a, b) in vocabulary,
        )
    return result


def _foreign(
    chosen: Sequence[tuple[int, int]], measures: Mapping[str, Sequence[float]]
) -> set[tuple[int, int]]:
    """The matches for which nothing but shape and place speaks, if they are most."""
    kinship = map(max, measures["name"], measures["modules"])
    strangers = {pair for pair, likeness in zip(chosen, kinship, strict=True) if likeness < KINSHIP}
    return strangers if len(strangers) > _MOST * len(chosen) else set()


def _speaks_of_order(says: Callable[[str, str], bool], one: Unit, other: Unit) -> bool:
    """Whether the names of two layers say another order. Of one that is taken apart, ``part_order`` tells."""
    return not one.parts and not other.parts and says(one.path, other.path)


def _is_norm(unit: Unit) -> bool:
    return len(unit.tensors) > 1 and len(unit.main.shape) == 1 and unit.main.shape[0] > 1


def _same(a: Unit, b: Unit) -> bool:
    """Whether the main tensor is unchanged: the same key, or the same parameter that one has parametrized."""
    if a.parts or b.parts or a.numbers != b.numbers:
        return False
    if a.tensors[0].key == b.tensors[0].key:
        return True
    forms = [{tensor.form for tensor in unit.tensors} for unit in (a, b)]
    return a.path == b.path and forms[0] != forms[1] and _parameters(a) == _parameters(b)


def _parts(unit: Unit) -> set[str]:
    return {tensor.part for tensor in unit.tensors}


def _parameters(unit: Unit) -> set[tuple[str, tuple[int, ...]]]:
    return {(tensor.role, tensor.spec.shape) for tensor in unit.tensors if not tensor.part}


def _changed(
    old: Sequence[Unit],
    new: Sequence[Unit],
    chosen: Collection[tuple[int, int]],
    kept: Collection[tuple[int, int]],
    grown: Collection[tuple[int, int]],
) -> tuple[list[int], list[int]]:
    """Returns the changed layers of each side.

    Layers left over on both sides may be a replacement. Left over on one side alone, they were added or
    removed, which says little of the rest. Unchanged layers do not count: they do not show whether the
    rest was renamed or replaced. Nor do those that have another size in the place where they were, nor
    further blocks of a family.
    """
    stayed = {unit.path for unit in old} & {unit.path for unit in new}
    explained = {a for a, _ in (*chosen, *grown)}, {b for _, b in (*chosen, *grown)}
    further = more_of_the_same(old, explained[0]), more_of_the_same(new, explained[1])
    known = {a for a, _ in (*kept, *grown)} | further[0], {b for _, b in (*kept, *grown)} | further[1]
    ours = [index for index, unit in enumerate(old) if index not in known[0] and unit.path not in stayed]
    theirs = [index for index, unit in enumerate(new) if index not in known[1] and unit.path not in stayed]
    return ours, theirs
