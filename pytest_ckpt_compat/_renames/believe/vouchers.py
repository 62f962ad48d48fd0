"""Whether a layer's own name speaks for a match: not for its place alone."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass

from pytest_ckpt_compat._renames.believe.ranks import rank_of, ranks, rise_together
from pytest_ckpt_compat._renames.believe.renumbered import renumbered
from pytest_ckpt_compat._renames.units.paths import around, is_number, modules_of, template
from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import MATRIX, Unit

#: Share of the layers with a new name of their own above which on such a name is what to expect.
_MOST = 0.5

#: The words of ``in_proj_weight``, which holds query, key and value in torch.nn.MultiheadAttention.
_IN_PROJ = frozenset({"in", "proj"})
_PARTS = frozenset({"q", "k", "v"})

#: The parameters of a recurrent layer of torch, which are all named alike: the layer's name is its module's.
_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?")

#: Least number of other layers in a module for them to show what to expect in it.
_AROUND = 3


class Vouchers:
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
        self._kept_beside = {self._places[0][a] for a, b in chosen if old[a].path == new[b].path}
        self._ranked = _ranked(old, new, chosen, self._places)
        changed = [pair for pair in chosen if pair not in self._stayed]
        self._ranked_anew = _ranked(old, new, changed, self._places)
        self._renumbered = renumbered(old, new, chosen)
        self._joint = {(a, b) for a, b in chosen if old[a].parts or new[b].parts}
        self._expected = _expected(old, new, chosen, self._stayed)
        self._modules = [_module(unit) for unit in old], [_module(unit) for unit in new]
        self._nameless = [_is_nameless(unit) for unit in old], [_is_nameless(unit) for unit in new]
        self._wrapped = _wrapped(old, new, chosen, self._names)
        alone = [pair for pair in chosen if pair not in self._joint]
        self._christened = _christened(alone, self._modules, self._nameless)
        self._inside = _named(old, ours, self._nameless[0]), _named(new, theirs, self._nameless[1])
        silent = [(a, b) for a, b in chosen if not self._speaks(a, b)]
        unsettled = set(silent) - self._left_over(silent, chosen)
        self._silent = {self._places[0][a] for a, _ in unsettled}, {self._places[1][b] for _, b in unsettled}

    def vouch(self, a: int, b: int) -> bool:
        """Whether the names of two matched layers, and of those beside them, speak for the match."""
        return self._places[0][a] not in self._silent[0] and self._places[1][b] not in self._silent[1]

    def _speaks(self, a: int, b: int) -> bool:
        """Whether the own names are equal, or share what tells them from others beside them, or count alike.

        Beside a layer are those of its shape in the same module. Without such, a new name is what to expect
        if most layers got one; the name of a joint layer has the words of its parts. A name that another
        layer in the partner's module has speaks against the match.
        """
        if (a, b) in self._stayed:
            return True
        if self._namesake(a, b) and (a, b) not in self._renumbered:
            return False
        ours, theirs = self._names[0][a], self._names[1][b]
        one, other = self._beside[0][self._places[0][a]], self._beside[1][self._places[1][b]]
        if one.number < 2 and other.number < 2:
            joint = (a, b) in self._joint and (
                ours <= theirs or theirs <= ours or _is_of_attention(ours, theirs)
            )
            return joint or (a, b) in self._wrapped or self._is_new_name(a, b)
        if (a, b) in self._ranked:
            return (a, b) in self._expected
        if (a, b) in self._ranked_anew and (a, b) in self._expected:
            return True
        if (ours & theirs) <= (one.common & other.common):
            return False
        # "sentiment_head" and "toxicity_head" may be two heads, where others beside them are what they were.
        two = _telling(ours - theirs - one.common) and _telling(theirs - ours - other.common)
        return not (two and self._places[0][a] in self._kept_beside)

    def _namesake(self, a: int, b: int) -> bool:
        """Whether a layer in the module of either has the own name of the other."""
        ours, theirs = self._names[0][a], self._names[1][b]
        one, other = self._modules[0][a], self._modules[1][b]
        passed_on = not self._nameless[0][a] and ours in self._inside[1][other]
        return passed_on or (not self._nameless[1][b] and theirs in self._inside[0][one])

    def _is_new_name(self, a: int, b: int) -> bool:
        """Whether a new name is what to expect: most layers got one, or all beside it that had none."""
        return (a, b) in self._expected or (self._modules[0][a], self._modules[1][b]) in self._christened

    def _left_over(
        self, silent: Sequence[tuple[int, int]], chosen: Sequence[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """The silent matches that are settled because all others beside them have new names that speak.

        One that kept its name settles nothing: the name may have been passed on.
        """
        matched = [Counter(places[pair[side]] for pair in chosen) for side, places in enumerate(self._places)]
        quiet = [
            Counter(places[pair[side]] for pair in (*silent, *self._stayed))
            for side, places in enumerate(self._places)
        ]

        def last(side: int, index: int) -> bool:
            place = self._places[side][index]
            return quiet[side][place] == 1 and matched[side][place] == self._beside[side][place].number

        return {
            (a, b)
            for a, b in silent
            if last(0, a) and last(1, b) and (a, b) in self._expected and not self._namesake(a, b)
        }


def _expected(
    old: Sequence[Unit],
    new: Sequence[Unit],
    chosen: Sequence[tuple[int, int]],
    stayed: Set[tuple[int, int]],
) -> set[tuple[int, int]]:
    """The matches at which a new name is what to expect: most layers got one, in the model or around."""
    paths = {(a, b): (_layer(old[a].path), _layer(new[b].path)) for a, b in chosen}
    layers = {path: pair in stayed for pair, path in paths.items()}
    if sum(not kept for kept in layers.values()) > _MOST * len(layers):
        return set(chosen)
    ours = _mostly_new([one for one, _ in layers], list(layers.values()))
    theirs = _mostly_new([other for _, other in layers], list(layers.values()))
    renamed = {
        path
        for path, kept, *both in zip(layers, layers.values(), ours, theirs, strict=True)
        if all(both) and not kept
    }
    return {pair for pair, path in paths.items() if path in renamed}


def _mostly_new(paths: Sequence[str], stayed: Sequence[bool]) -> list[bool]:
    """Whether most others have new names in the innermost module around a layer that holds enough of them.

    Args:
        paths: the matched layers of one side.
        stayed: whether each of them kept its name.
    """
    held: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for path, same in zip(paths, stayed, strict=True):
        held.update(around(path))
        kept.update(around(path) if same else ())

    def mostly(path: str) -> bool:
        rich = (module for module in reversed(around(path)) if held[module] > _AROUND)
        module = next(rich, None)
        return module is not None and held[module] - 1 - kept[module] > _MOST * (held[module] - 1)

    return list(map(mostly, paths))


def _is_of_attention(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether one name is that of torch's joint tensor of attention, and the other has its parts."""
    return _IN_PROJ in (ours, theirs) and ours | theirs >= _PARTS


def _layer(path: str) -> str:
    """The path of a layer, given that of one of its units: each matrix of a recurrent layer is one."""
    module, _, name = path.rpartition(".")
    return module if module and _RECURRENT.fullmatch(name) else path


def _module(unit: Unit) -> str:
    return _layer(unit.path).rpartition(".")[0]


def _named(
    units: Sequence[Unit], names: Sequence[frozenset[str]], nameless: Sequence[bool]
) -> dict[str, set[frozenset[str]]]:
    """Returns module -> the own names of the layers in it."""
    found: defaultdict[str, set[frozenset[str]]] = defaultdict(set)
    for unit, name, without in zip(units, names, nameless, strict=True):
        if not without:
            found[_module(unit)].add(name)
    return found


def _christened(
    chosen: Sequence[tuple[int, int]],
    modules: tuple[Sequence[str], Sequence[str]],
    nameless: tuple[Sequence[bool], Sequence[bool]],
) -> set[tuple[str, str]]:
    """Returns the pairs of modules of which one has names for all the layers that are numbered in the other.

    At least two, and no other layers in either: a single one may be another layer, and what a numbered layer
    joins nobody knows.
    """
    held = Counter(modules[0]), Counter(modules[1])
    named = Counter((modules[0][a], modules[1][b]) for a, b in chosen if nameless[0][a] != nameless[1][b])
    return {pair for pair, number in named.items() if 1 < number == held[0][pair[0]] == held[1][pair[1]]}


def _wrapped(
    old: Sequence[Unit],
    new: Sequence[Unit],
    chosen: Sequence[tuple[int, int]],
    names: tuple[Sequence[frozenset[str]], Sequence[frozenset[str]]],
) -> set[tuple[int, int]]:
    """The matches of layers that kept their name but for a wrapper around them, on either side.

    A single vector may be another one, in a module that came: its length agrees by accident.
    """
    found: defaultdict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for a, b in chosen:
        one, other = old[a].path, new[b].path
        within = names[0][a] <= names[1][b] or names[1][b] <= names[0][a]
        if within and _last_words(_layer(one)) == _last_words(_layer(other)):
            found[template(one), template(other)].append((a, b))
    return {
        pair
        for pairs in found.values()
        for pair in pairs
        if len(pairs) > 1 or old[pair[0]].copies or len(old[pair[0]].main.shape) >= MATRIX
    }


def _telling(words: Set[str]) -> bool:
    """Whether one of the words is more than a rank."""
    return any(not word.isdigit() and math.isnan(rank_of(word)) for word in words)


def _is_nameless(unit: Unit) -> bool:
    """Whether a layer has a number for a name, as in an ``nn.Sequential``."""
    return is_number(_layer(unit.path).rpartition(".")[2])


@dataclass(frozen=True)
class _Beside:
    """The layers of one shape in one module.

    Attributes:
        number: how many they are.
        common: the words that are in all of their own names.
    """

    number: int
    common: frozenset[str]


def _beside(places: Sequence[Hashable], names: Sequence[frozenset[str]]) -> dict[Hashable, _Beside]:
    """Returns place -> the layers there."""
    found: defaultdict[Hashable, list[frozenset[str]]] = defaultdict(list)
    for place, name in zip(places, names, strict=True):
        found[place].append(name)
    return {place: _Beside(len(n), frozenset.intersection(*n)) for place, n in found.items()}


def _ranked(
    old: Sequence[Unit],
    new: Sequence[Unit],
    chosen: Sequence[tuple[int, int]],
    places: tuple[Sequence[Hashable], Sequence[Hashable]],
) -> set[tuple[int, int]]:
    """The matches of layers beside each other whose paths all state a rank, in one order on both sides.

    The rank stands where the paths part: ``conv1``, ``conv2`` and ``layer.0.convolution``,
    ``layer.1.convolution`` count alike.
    """

    def of(side: int) -> set[tuple[int, int]]:
        beside: defaultdict[Hashable, list[tuple[int, int]]] = defaultdict(list)
        for match in chosen:
            beside[places[side][match[side]]].append(match)
        held = Counter(places[side])
        return {
            match
            for place, members in beside.items()
            if held[place] < 2
            or rise_together(
                ranks([old[a].path for a, _ in members]), ranks([new[b].path for _, b in members])
            )
            for match in members
        }

    return of(0) & of(1)


def _own_names(units: Sequence[Unit]) -> list[frozenset[str]]:
    """The words of each unit's last segment, and of the modules around that hold nothing else."""
    held = Counter(module for unit in units for module in modules_of(unit.path))
    found = []
    for unit in units:
        segments = _layer(unit.path).split(".")
        words = set(_last_words(_layer(unit.path)))
        for depth in range(len(segments) - 1, 0, -1):
            if held[".".join(segments[:depth])] > 1:
                break
            words.update(segment_tokens(segments[depth - 1]))
        found.append(frozenset(words))
    return found


def _place(unit: Unit) -> Hashable:
    return _module(unit), unit.slot, unit.path.removeprefix(_layer(unit.path))


def _last_words(path: str) -> tuple[str, ...]:
    return next((words for words in map(segment_tokens, reversed(path.split("."))) if words), ())
