"""What the two lists themselves say for a pair of nodes: shape, name, order, surroundings."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pytest_ckpt_compat._renames.match.candidates import Candidates, Node
from pytest_ckpt_compat._renames.match.groups import Groups, nested_share
from pytest_ckpt_compat._renames.units.tokens import Names, template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

    #: Kind of evidence, as ``Weights`` names it -> how far it speaks for each pair, 1 at most.
    Measures = dict[str, Floats]

#: Beyond so many pairs of modules what they hold is not compared, for want of memory.
_MOST_MODULE_PAIRS = 4_000_000

_T = TypeVar("_T", bound=Hashable)


@dataclass(frozen=True)
class Weights:
    """What each kind of evidence is worth in the one objective; each is 1 where all agrees."""

    #: Words of the paths.
    name: float = 1.5
    #: The very same path.
    same_path: float = 0.6
    #: The very same shape, not a permutation of it.
    shape: float = 1.0
    #: The same biases and statistics beside the main tensor.
    roles: float = 0.6
    #: Place among the nodes of the same kind.
    kind_order: float = 0.4
    #: Place in the file.
    file_order: float = 0.3
    #: Shapes held by the modules around.
    surroundings: float = 1.0
    #: Learnt: the modules around correspond.
    modules: float = 1.5
    #: Learnt: place within corresponding modules.
    module_order: float = 0.5
    #: Learnt: the same path with numbers left open went the same way.
    templates: float = 0.6
    #: Learnt: the same ending of the path went the same way.
    endings: float = 0.4
    #: Learnt: the numbers of the modules around follow the rule of their family.
    numbers: float = 0.8
    #: Learnt: the nodes before and after correspond.
    neighbours: float = 0.5


def given(old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> Measures:
    """What there is before anything is learnt from other pairs."""
    import numpy as np

    old_paths, new_paths = [template(node.path) for node in old], [template(node.path) for node in new]
    places = {node.path: place for place, node in enumerate(old)}
    twin = np.array([places.get(node.path, -1) for node in new], dtype=np.intp)
    return {
        "name": _by_value(pairs, old_paths, new_paths, Names(old_paths, new_paths).similarity),
        "same_path": (twin[pairs.cols] == pairs.rows).astype(np.float64),
        "shape": _by_value(pairs, [node.shape for node in old], [node.shape for node in new], _equal),
        "roles": _by_value(pairs, [node.roles for node in old], [node.roles for node in new], _agreement),
        "kind_order": _kind_order(pairs),
        "file_order": 1 - np.abs(pairs.rows / max(len(old), 1) - pairs.cols / max(len(new), 1)),
        "surroundings": _surroundings(old, new, pairs),
    }


def weighed(measures: Measures, weights: Weights) -> Floats:
    """All that is measured, in one number per pair."""
    import numpy as np

    total: Floats = np.sum([getattr(weights, name) * values for name, values in measures.items()], axis=0)
    return total


def _by_value(pairs: Candidates, old: list[_T], new: list[_T], measure: Callable[[_T, _T], float]) -> Floats:
    """``measure`` of what each pair has on either side, worked out once per two values."""
    import numpy as np

    olds: dict[_T, int] = {}
    news: dict[_T, int] = {}
    ours = np.array([olds.setdefault(value, len(olds)) for value in old], dtype=np.intp)
    theirs = np.array([news.setdefault(value, len(news)) for value in new], dtype=np.intp)
    unique, inverse = np.unique(ours[pairs.rows] * len(news) + theirs[pairs.cols], return_inverse=True)
    old_values, new_values = list(olds), list(news)
    measured = [
        measure(old_values[code // len(news)], new_values[code % len(news)]) for code in unique.tolist()
    ]
    return np.array(measured, dtype=np.float64)[inverse]


def _equal(a: object, b: object) -> float:
    return float(a == b)


def _agreement(a: tuple[tuple[str, object], ...], b: tuple[tuple[str, object], ...]) -> float:
    """How far two nodes hold the same beside their main tensor; -2 where shapes contradict."""
    if a == b:
        return 1.0
    ours, theirs = dict(a), dict(b)
    common = ours.keys() & theirs.keys()
    if any(ours[role] != theirs[role] for role in common):
        return -2.0
    return len(common) / len(ours.keys() | theirs.keys()) - 0.5


def _kind_order(pairs: Candidates) -> Floats:
    import numpy as np

    order = np.empty(len(pairs))
    for part, height, width in pairs.classes:
        gap = np.abs(np.linspace(0, 1, height)[:, None] - np.linspace(0, 1, width)[None, :])
        order[part] = 1 - gap.ravel()
    return order


def _surroundings(old: Sequence[Node], new: Sequence[Node], pairs: Candidates) -> Floats:
    """How alike the modules around two nodes are in the kinds of nodes they hold."""
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
    return nested_share(common, ours.members[pairs.rows], theirs.members[pairs.cols])
