"""Folds many keys into few patterns: ``layers.{0..11}.attn.{q,k,v}.*``.

A pattern stands for exactly its keys. Every combination of the numbers or names in its braces occurs
among them, and ``.*`` stands for a subtree only if all of its keys do.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

#: A decimal number as Python prints it. ``01`` is a name, since a folded number has no leading zero.
_NUMBER = re.compile(r"(?<!\d)(0|[1-9][0-9]{0,17})(?!\d)")

#: Most numbers in a path that are folded. A path with more is a name as a whole.
_MOST_NUMBERS = 32

#: How many index maps are tried for keys of one shape before the rest is listed one by one. A
#: permutation that follows no rule would need as many maps as it has members.
_MAX_INDEX_MAPS = 32


@dataclass(frozen=True, slots=True)
class Fold:
    """A pattern and the keys that it stands for, in the order in which they were given."""

    pattern: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PairFold:
    """Two patterns and the pairs of keys that they stand for; the n-th braces of both correspond."""

    old_pattern: str
    new_pattern: str
    pairs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """``layers.{0..5}.* -> blocks.{1..6}.*``."""
        return f"{self.old_pattern} -> {self.new_pattern}"


def fold(keys: Sequence[str], universe: Iterable[str] = ()) -> tuple[Fold, ...]:
    """Folds keys into as few patterns as it finds.

    Args:
        keys: distinct keys.
        universe: all keys of that side, each once. ``backbone.*`` is used only if every key below
            ``backbone`` in it is among ``keys``. Without it, ``keys`` count as all keys, but are
            never folded into a bare ``*``.
    """
    everything = tuple(universe)
    if len(keys) == len(everything) > 1 and set(keys) == set(everything):
        return (Fold("*", tuple(keys)),)
    universe = everything or keys
    folded = _fold([(key, key) for key in keys], universe, universe, bool(everything))
    return tuple(Fold(each.old_pattern, tuple(old for old, _ in each.pairs)) for each in folded)


def fold_pairs(
    pairs: Sequence[tuple[str, str]], old_universe: Iterable[str] = (), new_universe: Iterable[str] = ()
) -> tuple[PairFold, ...]:
    """Folds pairs of keys into as few pairs of patterns as it finds.

    Args:
        pairs: (old key, new key); no key occurs twice on its side.
        old_universe: all keys of the old side; by default those of ``pairs``.
        new_universe: all keys of the new side; by default those of ``pairs``.
    """
    old_keys, new_keys = tuple(old_universe), tuple(new_universe)
    return _fold(
        pairs,
        old_keys or [old for old, _ in pairs],
        new_keys or [new for _, new in pairs],
        bool(old_keys and new_keys),
    )


@dataclass(frozen=True, slots=True)
class _Unit:
    """A pair of keys, or of whole subtrees whose keys correspond one to one."""

    old: str
    new: str
    #: Whether ``old`` and ``new`` are subtrees: prefixes with their last dot, "" for the root.
    below: bool
    pairs: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Draft:
    """A pair of patterns while it is being folded, as texts of segments."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    below: bool
    units: list[_Unit] = field(default_factory=list)


def _fold(
    pairs: Sequence[tuple[str, str]], old_keys: Iterable[str], new_keys: Iterable[str], whole: bool
) -> tuple[PairFold, ...]:
    if not pairs:  # the universe may be large
        return ()
    units = _subtrees(pairs, old_keys, new_keys, whole)
    position = {pair: number for number, pair in enumerate(pairs)}
    drafts = _merge_names(list(_merge_numbers(units)), position)
    folded = [_finish(draft, position) for draft in drafts]
    return tuple(sorted(folded, key=lambda each: position[each.pairs[0]]))


def _subtrees(
    pairs: Sequence[tuple[str, str]], old_keys: Iterable[str], new_keys: Iterable[str], whole: bool
) -> list[_Unit]:
    """Joins pairs into the largest subtrees that correspond as a whole."""
    old_sizes = _sizes(old_keys)
    new_sizes = old_sizes if new_keys is old_keys else _sizes(new_keys)
    levels: defaultdict[int, list[_Unit]] = defaultdict(list)
    for old, new in pairs:
        levels[old.count(".") + 1].append(_Unit(old, new, False, ((old, new),)))
    done: list[_Unit] = []
    for depth in range(max(levels, default=0), 0, -1):
        siblings: defaultdict[str, list[_Unit]] = defaultdict(list)
        for unit in levels.pop(depth, ()):
            siblings[_around(unit.old, unit.below)].append(unit)
        for parent, units in siblings.items():
            joined = _join(parent, units, old_sizes, new_sizes) if depth > 1 or whole else None
            if joined is None:
                done.extend(units)
            else:
                levels[depth - 1].append(joined)
    return done + levels.get(0, [])


def _join(
    parent: str, units: list[_Unit], old_sizes: defaultdict[str, int], new_sizes: defaultdict[str, int]
) -> _Unit | None:
    new_parents = {_around(unit.new, unit.below) for unit in units}
    new_parent = new_parents.pop()
    if new_parents or any(unit.old[len(parent) :] != unit.new[len(new_parent) :] for unit in units):
        return None
    size = sum(len(unit.pairs) for unit in units)
    if not size == old_sizes[parent] == new_sizes[new_parent]:
        return None
    return _Unit(parent, new_parent, True, tuple(pair for unit in units for pair in unit.pairs))


def _sizes(keys: Iterable[str]) -> defaultdict[str, int]:
    """Maps each subtree to the number of its keys."""
    innermost = Counter([key[: key.rfind(".") + 1] for key in keys])
    sizes: defaultdict[str, int] = defaultdict(int)
    for prefix, number in innermost.items():
        sizes[""] += number
        end = prefix.find(".") + 1
        while end:
            sizes[prefix[:end]] += number
            end = prefix.find(".", end) + 1
    return sizes


def _around(path: str, below: bool) -> str:
    """Returns the subtree around a key, or around a subtree if ``below``."""
    return path[: path.rfind(".", 0, len(path) - below) + 1]


def _merge_numbers(units: list[_Unit]) -> Iterator[_Draft]:
    """Joins units that differ only in their numbers, if one index map gives the new from the old."""
    shapes: defaultdict[tuple[object, ...], dict[tuple[int, ...], tuple[tuple[int, ...], _Unit]]]
    shapes = defaultdict(dict)
    for unit in units:
        old_text, old_numbers = _split_numbers(unit.old)
        new_text, new_numbers = _split_numbers(unit.new)
        shapes[old_text, new_text, unit.below][old_numbers] = (new_numbers, unit)
    for members in shapes.values():
        numbers = {old: new for old, (new, _) in members.items()}
        for index_map, covered in _index_maps(numbers):
            for box in _boxes(covered):
                inside = [members[point][1] for point in product(*box)]
                new_box = [
                    [sign * v + shift for v in box[i]] if sign else [shift] for i, sign, shift in index_map
                ]
                first = inside[0]
                yield _Draft(_spell(first.old, box), _spell(first.new, new_box), first.below, inside)


def _split_numbers(path: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    parts = _NUMBER.split(path)
    if len(parts) > 2 * _MOST_NUMBERS:
        return (path,), ()
    return tuple(parts[::2]), tuple(map(int, parts[1::2]))


#: For each number of the new key: index of the old number that it follows, sign, and shift.
_IndexMap = tuple[tuple[int, int, int], ...]


def _index_maps(
    numbers: dict[tuple[int, ...], tuple[int, ...]],
) -> Iterator[tuple[_IndexMap, list[tuple[int, ...]]]]:
    """Index maps that together give all ``numbers`` (old -> new), each with the old numbers it covers."""
    left = dict(numbers)
    for _ in range(_MAX_INDEX_MAPS):
        if not left:
            return
        index_map, covered = _widest_map(left)
        yield index_map, covered
        for old in covered:
            del left[old]
    for old in left:
        yield _widest_map({old: left[old]})


def _widest_map(
    numbers: dict[tuple[int, ...], tuple[int, ...]],
) -> tuple[_IndexMap, list[tuple[int, ...]]]:
    """The map ``new = ±old + shift``, chosen number by number from the left, that covers most members.

    It uses the old numbers in their order, so that the braces of the two patterns correspond. A number
    that is the same in every member has sign 0, and its shift is the number.
    """
    covered = list(numbers)
    chosen: list[tuple[int, int, int]] = []
    for column in range(len(numbers[covered[0]])):
        start = max((i for i, sign, _ in chosen if sign), default=0)
        votes: Counter[tuple[int, int, int]] = Counter()
        for old in covered:
            new = numbers[old][column]
            votes[0, 0, new] += 1
            for i in range(start, len(old)):
                votes[i, 1, new - old[i]] += 1
                votes[i, -1, new + old[i]] += 1
        best = max(votes, key=lambda way: (votes[way], way[1] == 0, way[1], -way[0]))
        chosen.append(best)
        i, sign, shift = best
        covered = [old for old in covered if numbers[old][column] == (sign * old[i] if sign else 0) + shift]
    return tuple(chosen), covered


def _boxes(points: list[tuple[int, ...]]) -> list[list[list[int]]]:
    """Divides a set of points into full products, each as lists of values by dimension."""
    if not points[0]:
        return [[]]
    tails: defaultdict[int, list[tuple[int, ...]]] = defaultdict(list)
    for point in points:
        tails[point[0]].append(point[1:])
    alike: defaultdict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for value in sorted(tails):
        alike[tuple(sorted(tails[value]))].append(value)
    return [[values, *box] for rest, values in alike.items() for box in _boxes(list(rest))]


def _spell(path: str, box: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """The segments of ``path`` with its numbers replaced by the values of ``box``."""
    if not box:
        return tuple(path.split("."))
    values = iter(box)
    return tuple(_NUMBER.sub(lambda _: _spell_numbers(next(values)), name) for name in path.split("."))


def _spell_numbers(values: Sequence[int]) -> str:
    if len(set(values)) == 1:
        return str(values[0])
    runs: list[list[int]] = []
    for value in values:
        run = runs[-1] if runs else []
        if run and abs(value - run[-1]) == 1 and (len(run) == 1 or value - run[-1] == run[1] - run[0]):
            run.append(value)
        else:
            runs.append([value])
    return "{" + ",".join(f"{r[0]}..{r[-1]}" if len(r) > 2 else ",".join(map(str, r)) for r in runs) + "}"


def _merge_names(drafts: list[_Draft], position: dict[tuple[str, str], int]) -> list[_Draft]:
    """Joins patterns that differ in one name, beginning with the last segment; names stay in their order."""

    def first(draft: _Draft) -> int:
        return min(position[unit.pairs[0]] for unit in draft.units)

    longest = max((len(draft.old) for draft in drafts), default=0)
    for index in range(-1, -longest - 1, -1):
        groups: defaultdict[object, list[_Draft]] = defaultdict(list)
        for draft in drafts:
            groups[_frame(draft, index)].append(draft)
        drafts = [
            _alternate(sorted(group, key=first), index) if len(group) > 1 else group[0]
            for group in groups.values()
        ]
    return drafts


def _frame(draft: _Draft, index: int) -> object:
    """What drafts have in common that may be joined in one segment; ``index`` counts from the end."""
    if min(len(draft.old), len(draft.new)) < -index or "{" in draft.old[index] + draft.new[index]:
        return id(draft)
    before = draft.old[:index], draft.new[:index]
    after = draft.old[len(draft.old) + index + 1 :], draft.new[len(draft.new) + index + 1 :]
    return before, after, draft.below


def _alternate(group: list[_Draft], index: int) -> _Draft:
    old, new = list(group[0].old), list(group[0].new)
    old[index] = "{" + ",".join(draft.old[index] for draft in group) + "}"
    new[index] = "{" + ",".join(draft.new[index] for draft in group) + "}"
    units = [unit for draft in group for unit in draft.units]
    return _Draft(tuple(old), tuple(new), group[0].below, units)


def _finish(draft: _Draft, position: dict[tuple[str, str], int]) -> PairFold:
    pairs = sorted((pair for unit in draft.units for pair in unit.pairs), key=position.__getitem__)
    ending = _ending(draft) if draft.below else ""
    return PairFold(".".join(draft.old) + ending, ".".join(draft.new) + ending, tuple(pairs))


def _ending(draft: _Draft) -> str:
    """``*``, or the rest of the key if each subtree holds one key and all end alike."""
    if any(len(unit.pairs) > 1 for unit in draft.units):
        return "*"
    endings = {unit.pairs[0][0][len(unit.old) :] for unit in draft.units}
    return endings.pop() if len(endings) == 1 else "*"
