"""Finds renames that another copy of the model in the checkpoint explains as well: student and teacher."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import cache

from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.units.paths import modules_of, template
from pytest_ckpt_compat._renames.units.tokens import Names

#: The name of one copy speaks for it if it is this much more similar to the new one than the other's.
_CLEARLY_MORE = 0.05

#: A module, and one beside it.
_Pair = tuple[str, str]


def with_copies(
    changes: Sequence[Change], old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]
) -> list[Change]:
    """The changes; those ambiguous of which nothing but the order of keys says which copy is meant.

    A copy is a module of several layers beside the one that was renamed. Every renamed key in that one is in
    the copy as well, in the same size, and nothing of it is told to have become anything. Copies that a
    number tells apart (``blocks.0``, ``blocks.1``) do not count: the numbers decide. A definition may have
    copies of what the checkpoint has once, as well.

    Args:
        changes: all of them.
        old: key -> spec of the checkpoint.
        new: key -> spec of the definition.
    """
    ours = _copies_of(changes, old, new)
    theirs = _copies_of([_mirrored(change) for change in changes], new, old)
    told = list(changes)
    for index in ours.keys() | theirs.keys():
        change = changes[index]
        candidates = (
            dict.fromkeys((*change.candidates, *change.new, *theirs[index])) if index in theirs else ()
        )
        told[index] = replace(
            change,
            confidence="ambiguous",
            rivals=ours.get(index, change.rivals),
            candidates=tuple(candidates) or change.candidates,
        )
    return told


def _mirrored(change: Change) -> Change:
    """The change from the definition's side: what is missing there has nothing that it came from."""
    kind: Kind = "unexpected" if change.kind == "missing" else change.kind
    return replace(change, kind=kind, old=change.new, new=change.old)


def _copies_of(
    changes: Sequence[Change], specs: Mapping[str, TensorSpec], others: Mapping[str, TensorSpec]
) -> dict[int, tuple[str, ...]]:
    """Index of a change -> the keys of copies that it could as well be of.

    What the other side has room for is no copy: two stages may have become one stack.
    """
    lost = [key for change in changes if change.kind == "unexpected" for key in change.old]
    moved = [change for change in changes if change.old and change.new and change.old != change.new]
    if not lost or not moved:
        return {}
    room = Counter(others[key].shape for change in changes if not change.old for key in change.new)
    needed: defaultdict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for key in lost:
        for module in modules_of(key):
            needed[module][specs[key].shape] += 1
    rivals: defaultdict[int, list[str]] = defaultdict(list)
    for (module, other), members in _pairs(moved, _beside(lost), specs).items():
        if not needed[other] <= room and not _is_named(module, other, members):
            for change in members:
                keys = (other + key[len(module) :] for key in change.old if key.startswith(f"{module}."))
                rivals[id(change)] += keys
    return {
        index: tuple(dict.fromkeys(rivals[id(change)]))
        for index, change in enumerate(changes)
        if id(change) in rivals
    }


def _cuts(key: str) -> Iterator[tuple[str, str, str]]:
    """Each module around a key: what is before its name, the name, the key in it ("a.", "b", "weight")."""
    begin = 0
    while (end := key.find(".", begin)) >= 0:
        yield key[:begin], key[begin:end], key[end + 1 :]
        begin = end + 1


def _beside(lost: Sequence[str]) -> Mapping[_Pair, Sequence[str]]:
    """What is around a module, and a key in it -> the names of the modules that lost such a key."""
    found: defaultdict[_Pair, list[str]] = defaultdict(list)
    for key in lost:
        for around, name, rest in _cuts(key):
            found[around, rest].append(name)
    return found


def _pairs(
    moved: Sequence[Change], beside: Mapping[_Pair, Sequence[str]], old: Mapping[str, TensorSpec]
) -> dict[_Pair, list[Change]]:
    """A module and its copy -> the changes of what is in it, all of which the copy explains as well."""
    found: defaultdict[_Pair, list[Change]] = defaultdict(list)
    inside: defaultdict[str, int] = defaultdict(int)
    for change in moved:
        modules: defaultdict[str, int] = defaultdict(int)
        pairs: defaultdict[_Pair, int] = defaultdict(int)
        for key in change.old:
            for around, name, rest in _cuts(key):
                module = around + name
                modules[module] += 1
                for other in beside.get((around, rest), ()):
                    copy = around + other
                    if other != name and not (name.isdigit() and other.isdigit()):
                        pairs[module, copy] += old[f"{copy}.{rest}"].shape == old[key].shape
        for module in modules:
            inside[module] += 1
        for pair, number in pairs.items():
            if number == modules[pair[0]]:
                found[pair].append(change)
    whole = {pair: members for pair, members in found.items() if len(members) == inside[pair[0]]}
    layered = {pair for pair, members in whole.items() if _has_layers(pair[0], members)}
    held = _held({module for pair in whole.keys() - layered for module in pair}, old)
    return {
        (module, other): members
        for (module, other), members in whole.items()
        if (module, other) in layered or _are_alike(held[module], held[other])
    }


def _held(modules: Set[str], old: Mapping[str, TensorSpec]) -> Mapping[str, Mapping[str, tuple[int, ...]]]:
    """Returns module -> the keys in it, without its name, and their shapes."""
    found: defaultdict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for key, spec in old.items() if modules else ():
        for module in modules_of(key):
            if module in modules:
                found[module][key[len(module) :]] = spec.shape
    return found


def _are_alike(ours: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether two modules of several layers hold the same keys in the same sizes, of which each gave some."""
    return ours == theirs and len({key.rpartition(".")[0] for key in ours}) > 1


def _has_layers(module: str, members: Sequence[Change]) -> bool:
    """Whether a module holds several layers: of single ones, names and shapes say too little."""
    below = f"{module}."
    layers = {key.rpartition(".")[0] for each in members for key in each.old if key.startswith(below)}
    return len(layers) > 1


def _is_named(module: str, other: str, members: Sequence[Change]) -> bool:
    """Whether the new names speak for one copy rather than for the other."""
    names = Names(
        [template(each) for change in members for key in change.old for each in _both(module, other, key)],
        [template(key) for change in members for key in change.new],
    )
    alike = cache(names.similarity)  # most keys of a module have the same in its place
    lead = 0.0
    for change in members:
        mine, new = change.old[0], change.new[0]
        if not mine.startswith(f"{module}."):
            continue
        theirs = other + mine[len(module) :]
        ours, after = _differing(mine, new, module)
        copies, _ = _differing(theirs, new, other)
        if not after:  # a prefix that went says nothing of which copy was meant
            continue
        lead += alike(template(ours), template(after)) - alike(template(copies), template(after))
    return lead / len(members) >= _CLEARLY_MORE


def _both(module: str, other: str, key: str) -> Iterator[str]:
    yield key
    yield module
    yield other
    if key.startswith(f"{module}."):
        yield other + key[len(module) :]


def _differing(old: str, new: str, module: str) -> tuple[str, str]:
    """What the new key has in place of a module, if the rest of the old key stayed; else both keys."""
    rest = old[len(module) :]
    if f".{new}".endswith(rest):
        return module, f".{new}"[: -len(rest)].lstrip(".")
    return old, new
