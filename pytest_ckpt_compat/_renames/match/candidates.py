"""The nodes to match, and the pairs of them that could be the same: those of one kind."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.units.owners import Label
from pytest_ckpt_compat._renames.units.paths import modules_of, numbers
from pytest_ckpt_compat._renames.units.units import Tensor, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


#: Most pairs of one kind for which all nodes are compared with each other.
_MOST_PAIRS = 60_000


@dataclass(frozen=True, slots=True)
class Node:
    """A unit or a whole module, as matching sees it.

    Attributes:
        path: its path in the module tree.
        kind: a value that is equal for nodes that could be the same.
        modules: the modules around it that hold more than this node, outermost first.
        shape: shape of the main tensor; () for a module.
        roles: (role, shape) of its other tensors; empty for a module.
        label: what is known of the module that owns the unit; None for a module.
    """

    path: str
    kind: Hashable
    modules: tuple[str, ...]
    shape: tuple[int, ...] = ()
    roles: tuple[tuple[str, tuple[int, ...]], ...] = ()
    label: Label | None = None


def unit_nodes(units: Sequence[Unit], turned: Mapping[Hashable, bool], *, turn: bool = False) -> list[Node]:
    """Makes a node of each unit.

    Args:
        units: of one side.
        turned: the kinds in which tensors may be transposed; True for those in which they are.
        turn: whether to give the shapes of the latter the other way round, as they are on the other side.
    """
    around = _surroundings([unit.path for unit in units])
    return [
        Node(
            unit.path,
            _kind(unit, turned),
            around[unit.path],
            unit.main.shape[::-1] if turn and turned.get(unit.kind) else unit.main.shape,
            tuple((t.role, t.spec.shape) for t in unit.tensors[1:] if _counts(t)),
            unit.label,
        )
        for unit in units
    ]


def _counts(tensor: Tensor) -> bool:
    """Whether a tensor tells layers apart: not a counter, and not what only one form of a parameter has."""
    return tensor.role != "num_batches_tracked" and not tensor.part


def module_nodes(units: Sequence[Unit], turned: Container[Hashable]) -> list[Node]:
    """Makes a node of each module with several units."""
    contents: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    around = _surroundings([unit.path for unit in units])
    for unit in units:
        for module in around[unit.path]:
            contents[module][_kind(unit, turned)] += 1
    outside = _surroundings(list(contents))
    return [Node(module, frozenset(kinds.items()), outside[module]) for module, kinds in contents.items()]


def transposed_kinds(old: Sequence[Unit], new: Sequence[Unit]) -> dict[Hashable, bool]:
    """Returns the kinds of units among which a tensor may be the transpose of another; True if all are.

    Transposition belongs to a model, or to all layers of a kind, and not to a pair: exact shapes are used
    up first. A kind forces it if the exact shapes of the two sides differ, or if its paths have on one side
    the transposes of what they have on the other, with the same biases, and none has the same on both. If
    more layers force it than speak against it, it is possible in every kind, and holds of those in which two
    transposes change places.
    """
    before, after = exact_shapes(old), exact_shapes(new)
    shapes = {kind: (before[kind], after[kind]) for kind in before | after}
    forced: set[Hashable] = set()
    either: set[Hashable] = set()
    votes = 0
    for kind, (ours, theirs) in shapes.items():
        exact, most = (ours & theirs).total(), min(ours.total(), theirs.total())
        if exact < most:
            forced.add(kind)
        turned = Counter({shape[::-1]: number for shape, number in ours.items()})
        if (turned & theirs).total() != exact:
            votes += most if exact < most else -most
        elif turned == theirs and len(turned) > 1:
            either.add(kind)
    there = {unit.path: unit for unit in new}
    stayed = [(unit, there[unit.path]) for unit in old if unit.path in there and _is_oblong(unit)]
    stayed = [(one, other) for one, other in stayed if one.kind == other.kind]
    turned_round = [one for one, other in stayed if squeezed(one) != squeezed(other) and _agree(one, other)]
    as_they_were = {one.kind for one, other in stayed if squeezed(one) == squeezed(other)}
    forced.update(unit.kind for unit in turned_round if unit.kind not in as_they_were)
    votes += sum(math.prod(unit.copies) for unit in turned_round)
    if votes <= 0:
        return dict.fromkeys(forced, False)
    return {kind: kind in either and kind not in as_they_were for kind in shapes}


def exact_shapes(units: Sequence[Unit]) -> defaultdict[Hashable, Counter[tuple[int, ...]]]:
    """Returns kind -> the exact shapes of its layers, without sizes of 1, and how many have each."""
    found: defaultdict[Hashable, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for unit in units:
        found[unit.kind][squeezed(unit)] += math.prod(unit.copies)
    return found


def _is_oblong(unit: Unit) -> bool:
    return len(set(squeezed(unit))) > 1


def _agree(one: Unit, other: Unit) -> bool:
    """Whether the other tensors of both are of one size: a layer stored transposed keeps its bias."""
    ours, theirs = ({t.role: t.spec.shape for t in unit.tensors[1:]} for unit in (one, other))
    return all(ours[role] == theirs[role] for role in ours.keys() & theirs.keys())


def _surroundings(paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the modules around each path. Of modules with equal content, it keeps a numbered one."""
    sizes = Counter(module for path in paths for module in modules_of(path))
    known: dict[str, tuple[str, ...]] = {}
    for path in paths:
        modules: list[str] = []
        for module in modules_of(path):
            if sizes[module] < 2:
                break
            if modules and sizes[module] == sizes[modules[-1]]:
                if not modules[-1][-1:].isdigit():
                    modules[-1] = module
            else:
                modules.append(module)
        known[path] = tuple(modules)
    return known


def _kind(unit: Unit, turned: Container[Hashable]) -> Hashable:
    return unit.kind if unit.kind in turned else (unit.kind, squeezed(unit))


def squeezed(unit: Unit) -> tuple[int, ...]:
    """Returns the shape of the main tensor without sizes of 1."""
    return tuple(size for size in unit.main.shape if size != 1)


@dataclass(frozen=True)
class Candidates:
    """The pairs of nodes that could be the same, one entry per pair.

    Attributes:
        rows: index of the old node of each pair.
        cols: index of the new node of each pair.
        classes: for each kind, its slice of the pairs, and its numbers of old and new nodes. The pairs
            are sorted by old node.
    """

    rows: Ints
    cols: Ints
    classes: tuple[tuple[slice, int, int], ...]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.rows)


def candidates(old: Sequence[Node], new: Sequence[Node]) -> Candidates:
    """Makes all pairs of an old and a new node of one kind."""
    import numpy as np

    grouped: defaultdict[Hashable, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, nodes in enumerate((old, new)):
        for index, node in enumerate(nodes):
            grouped[node.kind][side].append(index)
    rows, cols = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    classes: list[tuple[slice, int, int]] = []
    start = 0
    for ours, theirs in _comparable(old, new, grouped.values()):
        if ours and theirs:
            rows.append(np.repeat(np.array(ours, dtype=np.intp), len(theirs)))
            cols.append(np.tile(np.array(theirs, dtype=np.intp), len(ours)))
            end = start + len(ours) * len(theirs)
            classes.append((slice(start, end), len(ours), len(theirs)))
            start = end
    return Candidates(np.concatenate(rows), np.concatenate(cols), tuple(classes))


def _comparable(
    old: Sequence[Node], new: Sequence[Node], grouped: Iterable[tuple[list[int], list[int]]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Yields the groups, those with too many pairs divided by the numbers in the paths."""
    for ours, theirs in grouped:
        if len(ours) * len(theirs) <= _MOST_PAIRS:
            yield ours, theirs
            continue
        numbered: defaultdict[tuple[int, ...], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for side, (nodes, indexes) in enumerate(((old, ours), (new, theirs))):
            for index in indexes:
                numbered[numbers(nodes[index].path)][side].append(index)
        yield from numbered.values()
