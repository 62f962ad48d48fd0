"""Measures the evidence for a pair of nodes in the two key lists: shape, name, order, surroundings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.match.groups import Groups, coded, nested_share, numbered
from pytest_ckpt_compat._renames.match.telling import namesakes, telling
from pytest_ckpt_compat._renames.units.owners import alike, alike_around
from pytest_ckpt_compat._renames.units.paths import is_number, numbers, template
from pytest_ckpt_compat._renames.units.similarities import similarities
from pytest_ckpt_compat._renames.units.tokens import Names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

    #: Kind of evidence, a field of ``Weights`` -> its measure for each pair, at most 1.
    Measures = dict[str, Floats]

#: Pairs of modules above which their contents are not compared, to save memory.
_MOST_MODULE_PAIRS = 4_000_000

#: Agreement of two nodes that differ in the terms alone in which their main tensor is stored: they may be
#: the same, and are never so by this alone.
_OTHER_TERMS = 0.5

_T = TypeVar("_T", bound=Hashable)

#: The numbers of layers whose paths differ in nothing else.
_Family = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Weights:
    """The weight of each kind of evidence in the objective. Full agreement measures 1."""

    #: Words of the paths.
    name: float = 1.5
    #: Words that tell it from the others of its kind in its block.
    telling: float = 0.3
    #: The same path.
    same_path: float = 1.5
    #: The same shape, not a permutation of it.
    shape: float = 1.0
    #: The same biases and statistics beside the main tensor.
    roles: float = 0.6
    #: Position among the nodes whose paths differ only in numbers.
    number_order: float = 0.4
    #: The same number of a layer that is alone under it, in a family with the same numbers.
    same_number: float = 0.3
    #: Position among the nodes of the same kind.
    kind_order: float = 0.4
    #: Position in the file.
    file_order: float = 0.3
    #: Shapes in the modules around.
    surroundings: float = 1.0
    #: Where classes are known: the same class of layer, against it different ones.
    classes: float = 2.0
    #: Where classes are known: the classes of the modules around.
    ancestry: float = 2.0
    #: Learnt: the modules around correspond.
    modules: float = 1.5
    #: Learnt: position within corresponding modules.
    module_order: float = 0.5
    #: Learnt: paths that differ only in numbers are matched in the same way.
    templates: float = 0.6
    #: Learnt: paths with the same ending are matched in the same way.
    endings: float = 0.4
    #: Learnt: the numbers of the modules around follow the index map of their family.
    numbers: float = 0.8
    #: Learnt: names that count (``norm1``, ``norm2``) follow the order of the other side.
    ordinals: float = 0.5
    #: Learnt: the nodes before and after correspond.
    neighbours: float = 0.5


def given(old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> Measures:
    """Measures the evidence that needs no other pairs."""
    import numpy as np

    old_paths, new_paths = [template(node.path) for node in old], [template(node.path) for node in new]
    namesake = namesakes([node.path for node in old], [node.path for node in new])
    return {
        **_classes(old, new, pairs),
        "name": _by_words(pairs, old_paths, new_paths),
        "telling": telling([node.path for node in old], [node.path for node in new], pairs),
        "same_path": (namesake[pairs.cols] == pairs.rows).astype(np.float64),
        "shape": _by_value(pairs, [node.shape for node in old], [node.shape for node in new], _equal),
        "roles": _by_value(pairs, [node.roles for node in old], [node.roles for node in new], _agreement),
        "number_order": _number_order(old, new, pairs),
        "same_number": _same_number(old, new, pairs),
        "kind_order": _kind_order(pairs),
        "file_order": _in_step(pairs.rows, pairs.cols, len(old), len(new)),
        "surroundings": _surroundings(old, new, pairs),
    }


def _classes(old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> Measures:
    """Measures what the classes of modules say; nothing where they are not known."""
    labels = [node.label for node in old], [node.label for node in new]
    if not any(labels[0]) or not any(labels[1]):
        return {}
    ours, theirs = ([label.around if label else () for label in side] for side in labels)
    return {
        "classes": _by_value(pairs, *labels, alike),
        "ancestry": _by_value(pairs, ours, theirs, alike_around),
    }


def weighed(measures: Measures, weights: Weights) -> Floats:
    """Returns the weighted sum of all measures for each pair."""
    import numpy as np

    total: Floats = np.zeros(len(next(iter(measures.values()))))
    for name, values in measures.items():
        total += getattr(weights, name) * values
    return total


def _by_value(pairs: Candidates, old: list[_T], new: list[_T], measure: Callable[[_T, _T], float]) -> Floats:
    """Applies ``measure`` to the two values of each pair, once for each combination of values."""
    import numpy as np

    each = _Combinations.of(pairs, old, new)
    combined = zip(each.rows.tolist(), each.cols.tolist(), strict=True)
    measured = [measure(each.old[row], each.new[col]) for row, col in combined]
    return np.array(measured, dtype=np.float64)[each.inverse]


def _by_words(pairs: Candidates, old: list[str], new: list[str]) -> Floats:
    """Measures how similar the two paths of each pair are in their words."""
    each = _Combinations.of(pairs, old, new)
    return similarities(Names(old, new), each.old, each.new, each.rows, each.cols)[each.inverse]


@dataclass(frozen=True)
class _Combinations(Generic[_T]):
    """The values of the nodes of both sides, and which of them meet in the pairs.

    Attributes:
        old, new: the values of each side, each once.
        rows, cols: the indexes of the values that meet, by the old one.
        inverse: for each pair, which combination it is.
    """

    old: list[_T]
    new: list[_T]
    rows: Ints
    cols: Ints
    inverse: Ints

    @classmethod
    def of(cls, pairs: Candidates, old: list[_T], new: list[_T]) -> _Combinations[_T]:
        import numpy as np

        (olds, ours), (news, theirs) = coded(old), coded(new)
        codes = ours[pairs.rows] * len(news) + theirs[pairs.cols]
        unique, inverse = numbered(codes, len(olds) * len(news))
        return cls(olds, news, *np.divmod(unique, max(len(news), 1)), inverse)


def _equal(a: object, b: object) -> float:
    return float(a == b)


def _plain(roles: Mapping[str, object]) -> dict[str, object]:
    """The tensors beside the main one as if that were stored plainly: without its parts (``weight:u``)."""
    return {role: shape for role, shape in roles.items() if ":" not in role}


def _agreement(a: tuple[tuple[str, object], ...], b: tuple[tuple[str, object], ...]) -> float:
    """Measures how similar two nodes' other tensors are; -2 if the shapes of one role differ."""
    if a == b:
        return 1.0
    ours, theirs = dict(a), dict(b)
    common = ours.keys() & theirs.keys()
    if _plain(ours) == _plain(theirs):
        return _OTHER_TERMS
    if any(ours[role] != theirs[role] for role in common):
        return -2.0
    return len(common) / len(ours.keys() | theirs.keys()) - 0.5


def _number_order(old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> Floats:
    """Measures whether two nodes have the same position among those that differ from them in numbers."""
    import numpy as np

    (ours, many), (theirs, others) = _positions(old), _positions(new)
    gap = np.abs(ours[pairs.rows] - theirs[pairs.cols])
    order: Floats = 1 - gap / np.maximum(many[pairs.rows], others[pairs.cols])
    return order


def _same_number(old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> Floats:
    """Measures whether two nodes have the same number, where index maps between modules say nothing of it.

    They don't if a numbered module holds a single layer, or the number is the layer's own. One of the two
    families has the first numbers of the other: a stack is extended, or cut, at its end.
    """
    _, own = coded(numbers(node.path) for node in (*old, *new))
    is_same = own[pairs.rows] == own[len(old) + pairs.cols]
    same: Floats = _by_value(pairs, _families(old), _families(new), _extends) * is_same
    return same


def _extends(one: _Family, other: _Family) -> float:
    """Whether one family has the first numbers of the other, more than one, or just the same."""
    fewer = min(len(one), len(other))
    return float(bool(fewer) and one[:fewer] == other[:fewer] and (fewer > 1 or len(one) == len(other)))


def _families(nodes: Sequence[Node]) -> list[_Family]:
    """The numbers of all nodes of each node's template; none if it is not alone under its number."""
    families: defaultdict[str, set[tuple[int, ...]]] = defaultdict(set)
    for node in nodes:
        families[template(node.path)].add(numbers(node.path))
    whole = {name: tuple(sorted(held)) for name, held in families.items()}
    return [whole[template(node.path)] if _is_alone(node) else () for node in nodes]


def _is_alone(node: Node) -> bool:
    """Whether a number stands behind the last of the modules that hold several layers."""
    inside = node.path[len(node.modules[-1]) :] if node.modules else node.path
    return any(map(is_number, inside.split(".")))


def _positions(nodes: Sequence[Node]) -> tuple[Floats, Floats]:
    """Returns each node's position by number among those of its template, and how many these are."""
    import numpy as np

    families: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        families.setdefault(template(node.path), []).append(index)
    position, size = np.zeros(len(nodes)), np.ones(len(nodes))
    for members in families.values():
        ranked = sorted(members, key=lambda index: numbers(nodes[index].path))
        position[ranked], size[ranked] = np.arange(len(members)), len(members)
    return position, size


def _kind_order(pairs: Candidates) -> Floats:
    import numpy as np

    order = np.empty(len(pairs))
    for part, height, width in pairs.classes:
        rows, cols = np.repeat(np.arange(height), width), np.tile(np.arange(width), height)
        order[part] = _in_step(rows, cols, height, width)
    return order


def _in_step(rows: Ints, cols: Ints, height: int, width: int) -> Floats:
    """Measures whether positions are equal, counted from the front or from the back."""
    import numpy as np

    gap = np.minimum(np.abs(rows - cols), np.abs((height - rows) - (width - cols)))
    order: Floats = 1 - gap / max(height, width, 1)
    return order


def _surroundings(old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> Floats:
    """Measures how similar the modules around two nodes are in the kinds of nodes they hold."""
    import numpy as np

    ours, theirs = Groups.of([node.modules for node in old]), Groups.of([node.modules for node in new])
    if len(ours.sizes) * len(theirs.sizes) > _MOST_MODULE_PAIRS:
        return np.zeros(len(pairs))
    common = np.zeros((len(ours.sizes), len(theirs.sizes)))
    codes: dict[Hashable, int] = {}
    kinds = [np.array([codes.setdefault(n.kind, len(codes)) for n in nodes]) for nodes in (old, new)]
    for kind in set(kinds[0].tolist()) & set(kinds[1].tolist()):
        held = [
            np.bincount(groups.members[side == kind].ravel(), minlength=len(groups.sizes))
            for groups, side in ((ours, kinds[0]), (theirs, kinds[1]))
        ]
        a, b = np.flatnonzero(held[0]), np.flatnonzero(held[1])
        common[np.ix_(a, b)] += np.minimum(held[0][a][:, None], held[1][b][None, :])
    common *= 2 / np.maximum(ours.sizes[:, None] + theirs.sizes[None, :], 1)
    return nested_share(common, ours.members, theirs.members, pairs.rows, pairs.cols)
