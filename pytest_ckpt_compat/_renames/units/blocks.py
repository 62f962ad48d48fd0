"""Repeated blocks: ``layers.0`` to ``layers.60`` with equal structure are treated as one.

Identical blocks hold the same shapes under the same names, so only their order distinguishes them.
One of them represents all, which makes a hundred thousand keys as fast as a hundred.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.units.owners import Owner
from pytest_ckpt_compat._renames.units.paths import home, is_number, modules_of, natural

#: Least number of copies. Fewer are kept: their surroundings are evidence that collapsing would remove.
_MIN_REPEATS = 4

#: Share of their shapes that blocks of a deeper or shallower stack have in common.
_MOSTLY = 0.5


@dataclass(frozen=True)
class Repeats:
    """A structure in which one block represents all its copies.

    Attributes:
        specs: key -> spec of the remaining keys, in order.
        copies: path of a representing block -> paths of all copies in file order, itself first.
    """

    specs: Mapping[str, TensorSpec]
    copies: Mapping[str, tuple[str, ...]]

    def counts(self, key: str) -> tuple[int, ...]:
        """Returns the number of copies of each repeated block around ``key``, outermost first."""
        return tuple(len(self.copies[block]) for block in self._around(key))

    def numbers(self, key: str) -> tuple[tuple[str, ...], ...]:
        """Returns the numbers of the copies of each repeated block around ``key``, outermost first."""
        return tuple(
            tuple(name.rpartition(".")[2] for name in self.copies[block]) for block in self._around(key)
        )

    def expand(self, key: str) -> list[str]:
        """Returns the keys that ``key`` represents, in every copy."""
        pieces: list[tuple[str, ...]] = []
        start = 0
        for block in self._around(key):
            parent = block.rpartition(".")[0]
            pieces.append(
                tuple(f"{key[start : len(parent)]}{name[len(parent) :]}" for name in self.copies[block])
            )
            start = len(block)
        pieces.append((key[start:],))
        return ["".join(choice) for choice in product(*pieces)]

    def _around(self, key: str) -> list[str]:
        return [block for block in modules_of(key) if block in self.copies] if self.copies else []


def collapse(
    old: Mapping[str, TensorSpec],
    new: Mapping[str, TensorSpec],
    owners: tuple[Mapping[str, Owner], Mapping[str, Owner]] | None = None,
) -> tuple[Repeats, Repeats]:
    """Keeps one of each run of identical blocks if both sides have runs of that length.

    Where the owners of the tensors are known, blocks of other classes are not identical.
    """
    old_runs, new_runs = (
        _runs(
            {key: (spec, own[key].classes if key in own else ()) for key, spec in side.items()}
            if own
            else side
        )
        for side, own in zip((old, new), owners or ({}, {}), strict=True)
    )
    old_runs, new_runs = _by_number(old_runs, new_runs), _by_number(new_runs, old_runs)
    ours, theirs = _Listed.of(old, old_runs), _Listed.of(new, new_runs)
    apart = _regrouped(ours, theirs) | _of_other_depth(ours, theirs)
    apart |= _by_accident(ours, theirs) | _by_accident(theirs, ours)
    old_runs, new_runs = ([run for run in runs if run not in apart] for runs in (old_runs, new_runs))
    both = {len(run) for run in old_runs} & {len(run) for run in new_runs}
    return _reduce(old, old_runs, both), _reduce(new, new_runs, both)


def _by_number(runs: Sequence[tuple[str, ...]], others: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Returns the runs in the order of their numbers.

    Those that a file does not list by their numbers are left alone, unless the other side has the same ones:
    which count, the place or the number, is to be found out for each.
    """
    there = set(map(frozenset, others))
    ordered = [(run, tuple(sorted(run, key=natural))) for run in runs]
    return [by_number for run, by_number in ordered if run == by_number or frozenset(run) in there]


@dataclass(frozen=True)
class _Listed:
    """Runs of one side, what each block of them holds, the numbers of all blocks beside, and all shapes."""

    runs: Sequence[tuple[str, ...]]
    held: Mapping[str, frozenset[tuple[str, TensorSpec]]]
    beside: Mapping[str, frozenset[str]]
    sizes: frozenset[tuple[int, ...]]

    @classmethod
    def of(cls, specs: Mapping[str, TensorSpec], runs: Sequence[tuple[str, ...]]) -> _Listed:
        firsts = {run[0] for run in runs}
        held: defaultdict[str, set[tuple[str, TensorSpec]]] = defaultdict(set)
        beside: defaultdict[str, set[str]] = defaultdict(set)
        for place in set(map(home, specs)):
            for module in modules_of(place):
                parent, _, number = module.rpartition(".")
                if is_number(number):
                    beside[parent].add(number)
        for key, spec in specs.items() if firsts else ():
            for module in modules_of(key):
                if module in firsts:
                    held[module].add((key[len(module) :], spec))
        return cls(
            runs,
            {module: frozenset(inside) for module, inside in held.items()},
            {parent: frozenset(numbers) for parent, numbers in beside.items()},
            frozenset(spec.shape for spec in specs.values()),
        )

    def family(self, run: tuple[str, ...]) -> tuple[object, frozenset[str]]:
        """What each block of a run holds, and the numbers of all blocks beside."""
        return self.held[run[0]], self.beside[run[0].rpartition(".")[0]]

    def shapes(self, run: tuple[str, ...]) -> frozenset[tuple[object, int]]:
        """The shapes that each block of a run holds, with how many there are of each."""
        return frozenset(Counter(spec.shape for _, spec in self.held[run[0]]).items())


def _regrouped(old: _Listed, new: _Listed) -> set[tuple[str, ...]]:
    """Returns the runs of equal blocks in families of the same numbers, which are other ones there.

    What one of their blocks has more moved to another one: the blocks did not.
    """
    ours, theirs = _by_family(old), _by_family(new)
    found: set[tuple[str, ...]] = set()
    for family in ours.keys() & theirs.keys():
        for here, there in permutations((ours[family], theirs[family])):
            for numbers, runs in here.items():
                found.update(runs if there.keys() - {numbers} else ())
    return found


def _by_family(side: _Listed) -> dict[object, dict[tuple[str, ...], list[tuple[str, ...]]]]:
    """Family -> the numbers of the blocks of a run -> the runs of this family that have them."""
    found: dict[object, dict[tuple[str, ...], list[tuple[str, ...]]]] = {}
    for run in side.runs:
        numbers = tuple(block.rpartition(".")[2] for block in run)
        found.setdefault(side.family(run), {}).setdefault(numbers, []).append(run)
    return found


def _of_other_depth(old: _Listed, new: _Listed) -> set[tuple[str, ...]]:
    """Returns the runs of which one side has more of a length, because another got longer or shorter.

    An encoder and a decoder have twelve blocks each, and the decoder loses one: its twelve are none of those
    that the encoder has on the other side. A run of a length of its own there shows it by its shapes; which
    of the others it was is to be found out from all there is.
    """
    names = set(old.runs) & set(new.runs)
    found: set[tuple[str, ...]] = set()
    for here, there in ((old, new), (new, old)):
        ours, theirs = (Counter(map(len, side.runs)) for side in (here, there))
        more = {length for length, number in (ours - theirs).items() if length in theirs}
        contents = {there.shapes(run) for run in there.runs if len(run) not in ours} if more else set()
        known: dict[frozenset[tuple[object, int]], bool] = {}
        for side in (here, there) if contents else ():
            for run in side.runs:
                if len(run) in more and run not in names:
                    shapes = side.shapes(run)
                    if shapes not in known:
                        known[shapes] = any(_likeness(shapes, each) >= _MOSTLY for each in contents)
                    found.update([run] if known[shapes] else [])
    return found


def _by_accident(here: _Listed, there: _Listed) -> set[tuple[str, ...]]:
    """Returns the runs of one side that have the length of others by accident.

    A run of the other side that has another length is in the same module, or alone holds just the same: an
    encoder lost a block, the decoder of eleven got three, and is not the encoder of eleven. Or none of that
    length holds anything of the same shape, but other layers do.
    """
    lengths: defaultdict[int, set[frozenset[tuple[object, int]]]] = defaultdict(set)
    places: defaultdict[str, set[int]] = defaultdict(set)
    for run in there.runs:
        lengths[len(run)].add(there.shapes(run))
        places[home(run[0])].add(len(run))
    found: set[tuple[str, ...]] = set()
    for run in here.runs:
        length, beside = len(run), places[home(run[0])]
        if length in lengths:
            shapes = here.shapes(run)
            moved = bool(beside) and length not in beside
            others = shapes not in lengths[length] and any(shapes in each for each in lengths.values())
            own = {shape for shape, _ in shapes}
            alone = own.isdisjoint(shape for each in lengths[length] for shape, _ in each)
            there_too = alone and len(own & there.sizes) >= _MOSTLY * len(own)
            found.update([run] if moved or others or there_too else [])
    return found


def _likeness(one: frozenset[tuple[object, int]], other: frozenset[tuple[object, int]]) -> float:
    """The share of the shapes of two blocks that both have."""
    ours, theirs = Counter(dict(one)), Counter(dict(other))
    return (ours & theirs).total() / (ours | theirs).total()


def _reduce(specs: Mapping[str, TensorSpec], runs: list[tuple[str, ...]], sizes: set[int]) -> Repeats:
    runs = [run for run in runs if len(run) in sizes]
    dropped = {block for run in runs for block in run[1:]}
    if not dropped:
        return Repeats(specs, {})
    homes = {place for place in set(map(home, specs)) if dropped.isdisjoint(modules_of(place))}
    left = {key: spec for key, spec in specs.items() if home(key) in homes}
    return Repeats(left, {run[0]: run for run in runs if dropped.isdisjoint(modules_of(run[0]))})


def _runs(specs: Mapping[str, object]) -> list[tuple[str, ...]]:
    """Finds runs of numbered siblings with equal keys and specs, in file order."""
    identities = _identities(specs)
    alike: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
    for module, identity in identities.items():
        parent, dot, name = module.rpartition(".")
        if is_number(name):
            alike[parent, dot, identity].append(module)
    return [tuple(run) for run in alike.values() if len(run) >= _MIN_REPEATS]


def _identities(specs: Mapping[str, object]) -> dict[str, int]:
    """Returns module -> a number that is equal for modules of equal content."""
    contents: dict[str, list[tuple[str, object]]] = {}
    for key, spec in specs.items():
        parent, dot, name = key.rpartition(".")
        if dot:
            if parent not in contents:
                for module in modules_of(f"{parent}."):
                    contents.setdefault(module, [])
            contents[parent].append((name, spec))
    numbering: dict[object, int] = {}
    identities = dict.fromkeys(contents, 0)
    for module in sorted(contents, key=lambda path: -path.count(".")):
        identity = identities[module] = numbering.setdefault(tuple(contents[module]), len(numbering))
        parent, dot, name = module.rpartition(".")
        if dot:
            contents[parent].append((name, identity))
    return identities
