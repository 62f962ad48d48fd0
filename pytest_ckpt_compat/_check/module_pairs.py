"""Which module of one definition is which of another: by their tensors, and without any by their places."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pytest_ckpt_compat._core.class_names import simple
from pytest_ckpt_compat._core.structure import Structure

#: Children of one module that are aligned; of more, only those under equal names are compared.
_MOST_CHILDREN = 2_000


@dataclass
class Pairs:
    """Modules of both sides by path.

    Attributes:
        both: old path -> new path.
        equal: old paths of those whose tensors are the same ones, in equal shapes; so are none at all.
        gone: old paths of modules without tensors that the new side lacks, of parts with equal tensors.
        come: new paths of such that the old side lacks.
    """

    both: dict[str, str] = field(default_factory=dict)
    equal: set[str] = field(default_factory=set)
    gone: list[str] = field(default_factory=list)
    come: list[str] = field(default_factory=list)


def pairs(old: Structure, new: Structure, moved: Mapping[str, str]) -> Pairs:
    """Pairs the modules of two definitions.

    Args:
        old: one with its modules.
        new: another.
        moved: old key -> new key, of the tensors that have another one.
    """
    images = _images(old, new, moved)
    before, after = _contents(old), _contents(new)
    found = Pairs()
    _pair_whole(old, new, images, before, after, found)
    _pair_others(images, before, after, found)
    _pair_without_tensors(old, new, before, after, found)
    return found


def _images(old: Structure, new: Structure, moved: Mapping[str, str]) -> dict[str, str]:
    """Old key -> key of the same tensor on the new side."""
    taken = set(moved.values())
    stayed = {key: key for key in old.tensors if key in new.tensors and key not in moved and key not in taken}
    return stayed | {
        key: other for key, other in moved.items() if key in old.tensors and other in new.tensors
    }


def _contents(structure: Structure) -> dict[str, list[str]]:
    """Module -> the keys in it and below it; only of modules that have some."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key in structure.tensors:
        for path in around(key):
            if path in structure.modules:
                found[path].append(key)
    return found


def around(path: str) -> Iterable[str]:
    """The paths around a path, innermost first; the last is the outermost module's."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def _pair_whole(
    old: Structure,
    new: Structure,
    images: Mapping[str, str],
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
    found: Pairs,
) -> None:
    """Pairs modules that hold the very same tensors; where several do, in each other, by class."""
    owners: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for path, keys in after.items():
        owners[frozenset(keys)].append(path)
    chains: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for path, keys in before.items():
        if all(key in images for key in keys):
            chains[frozenset(images[key] for key in keys)].append(path)
    shapes = {key: (old.tensors[key].shape, new.tensors[image].shape) for key, image in images.items()}
    for held, chain in chains.items():
        for one, other in _chained(old, new, sorted(chain, key=len), sorted(owners.get(held, ()), key=len)):
            found.both[one] = other
            if all(shapes[key][0] == shapes[key][1] for key in before[one]):
                found.equal.add(one)


def _chained(old: Structure, new: Structure, ones: list[str], others: list[str]) -> list[tuple[str, str]]:
    """Pairs of two chains of modules, each in the one before it: a wrapper in one of them has no pair."""
    result: list[tuple[str, str]] = []

    def pair(alike: Callable[[str, str], bool]) -> None:
        for one in list(ones):
            other = next((each for each in others if alike(one, each)), None)
            if other is not None:
                result.append((one, other))
                ones.remove(one)
                others.remove(other)

    def same_class(one: str, other: str) -> bool:
        return simple(old.modules[one]) == simple(new.modules[other])

    pair(lambda one, other: one == other and same_class(one, other))
    pair(same_class)
    if len(ones) == len(others):
        result += zip(ones, others, strict=True)
    elif ones and others:
        result.append((ones[-1], others[-1]))
    return result


def _pair_others(
    images: Mapping[str, str],
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
    found: Pairs,
) -> None:
    """Pairs modules of which some tensors came or went: under one path, or the outermost ones."""
    taken = set(found.both.values())
    for path, keys in before.items():
        if path in found.both or path not in after or path in taken:
            continue
        inside = f"{path}." if path else ""
        if not path or any(images.get(key, "").startswith(inside) for key in keys):
            found.both[path] = path


def _pair_without_tensors(
    old: Structure,
    new: Structure,
    before: Mapping[str, list[str]],
    after: Mapping[str, list[str]],
    found: Pairs,
) -> None:
    """Pairs modules without tensors, within the closest part around them that both sides have."""
    back = {other: one for one, other in found.both.items()}
    ones: defaultdict[str, list[str]] = defaultdict(list)
    others: defaultdict[str, list[str]] = defaultdict(list)
    for path in old.modules:
        if path not in before and path:
            ones[next((each for each in around(path) if each in found.both), "")].append(path)
    for path in new.modules:
        if path not in after and path:
            closest = next((each for each in around(path) if each in back), None)
            others["" if closest is None else back[closest]].append(path)
    inside = _inside(old), _inside(new)
    for part in dict.fromkeys([*ones, *others]):
        _Part(old, new, found, part, frozenset(back), inside).pair(ones[part], others[part])


def _inside(structure: Structure) -> dict[str, dict[str, str]]:
    """Module -> name -> path of the modules directly in it, in order."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for path in structure.modules:
        if path:
            parent, _, name = path.rpartition(".")
            found[parent][name] = path
    return found


@dataclass
class _Part:
    """One part that both sides have, while the modules without tensors in it are paired."""

    old: Structure
    new: Structure
    found: Pairs
    path: str
    #: New paths of the modules with tensors that have a pair.
    images: frozenset[str]
    #: What is directly in each module, of both sides.
    inside: tuple[Mapping[str, Mapping[str, str]], Mapping[str, Mapping[str, str]]]

    def pair(self, ones: list[str], others: list[str]) -> None:
        """Pairs the modules without tensors that this is the closest part around of."""
        equal = self.path in self.found.equal or not self.old.tensors
        shifted = self._aligned(ones, others)
        if not shifted:
            self._take(ones, others, self._place_before, self._place_after)
        self._take(ones, others, self._as_they_are(self.old), self._as_they_are(self.new))
        self._take(ones, others, lambda p: simple(self.old.modules[p]), lambda p: simple(self.new.modules[p]))
        if equal:
            self.found.gone += ones
            self.found.come += others

    def _place_before(self, path: str) -> object:
        return path[len(self.path) :].removeprefix(".")

    def _place_after(self, path: str) -> object:
        return path[len(self.found.both.get(self.path, "")) :].removeprefix(".")

    @staticmethod
    def _as_they_are(side: Structure) -> Callable[[str], object]:
        return lambda path: (simple(side.modules[path]), tuple((side.settings.get(path) or {}).items()))

    def _take(
        self,
        ones: list[str],
        others: list[str],
        before: Callable[[str], object],
        after: Callable[[str], object],
    ) -> None:
        """Pairs those that agree, in order, and takes them off both lists."""
        waiting: defaultdict[object, list[str]] = defaultdict(list)
        for path in others:
            waiting[after(path)].append(path)
        taken: dict[str, str] = {}
        for path in ones:
            if same := waiting[before(path)]:
                taken[path] = same.pop(0)
        self._add(ones, others, taken)

    def _add(self, ones: list[str], others: list[str], taken: Mapping[str, str]) -> None:
        self.found.both.update(taken)
        self.found.equal.update(taken)
        done = set(taken.values())
        ones[:] = [path for path in ones if path not in taken]
        others[:] = [path for path in others if path not in done]

    def _aligned(self, ones: list[str], others: list[str]) -> bool:
        """Whether the part is a sequence of which the length changed; pairs what only moved in it."""
        image = self.found.both.get(self.path, "")
        names, other_names = self.inside[0].get(self.path, {}), self.inside[1].get(image, {})
        numbered = names and other_names and all(name.isdecimal() for name in (*names, *other_names))
        before, after = list(names.values()), list(other_names.values())
        if not numbered or len(before) == len(after) or len(before) + len(after) > _MOST_CHILDREN:
            return False
        left = [self._label(path, self.old, self.found.both.get(path)) for path in before]
        right = [self._label(path, self.new, path if path in self.images else None) for path in after]
        matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
        same = [
            (before[a + step], after[b + step])
            for a, b, size in matcher.get_matching_blocks()
            for step in range(size)
        ]
        open_ones, open_others = set(ones), set(others)
        self._add(
            ones, others, {one: other for one, other in same if one in open_ones and other in open_others}
        )
        return True

    @staticmethod
    def _label(path: str, side: Structure, image: str | None) -> object:
        """Equal for what is the same: a pair with tensors, or a class with its settings."""
        return image if image is not None else _Part._as_they_are(side)(path)


def leaves(structure: Structure) -> set[str]:
    """The paths of modules that have none in them."""
    holding = Counter(path.rpartition(".")[0] for path in structure.modules if path)
    return {path for path in structure.modules if path not in holding}
