"""The numbered modules of a list of keys: what they hold, and which are beside each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from pytest_ckpt_compat._renames.units.paths import blocks_around, is_number, modules_of, natural
from pytest_ckpt_compat._renames.units.units import Unit

#: A module's content: how many units of each kind it holds.
_Content = frozenset[tuple[Hashable, int]]


def number_of(module: str) -> str:
    """The number that a module has for a name."""
    return module.rpartition(".")[2]


class Family:
    """The numbered modules of one side: their contents and siblings."""

    def __init__(self, units: Sequence[Unit]) -> None:
        contents: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
        self._held: defaultdict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
        for unit in units:
            for module in blocks_around(unit.path):
                contents[module][unit.slot] += 1
                self._held[module][unit.main.shape] += 1
        self._contents: dict[str, _Content] = {
            module: frozenset(kinds.items()) for module, kinds in contents.items()
        }
        self._sizes = {module: kinds.total() for module, kinds in contents.items()}
        ordered = sorted(contents, key=natural)
        self._ranks = {module: rank for rank, module in enumerate(ordered)}
        self._beside: defaultdict[str, set[int]] = defaultdict(set)
        for path in (*contents, *(unit.path for unit in units)):
            parent, _, number = path.rpartition(".")
            if is_number(number):
                self._beside[parent].add(int(number))
        self._first = {parent: min(numbers) for parent, numbers in self._beside.items()}
        self._siblings: defaultdict[str, list[str]] = defaultdict(list)
        self._alike: defaultdict[tuple[str, _Content], list[str]] = defaultdict(list)
        for module in ordered:
            parent = module.rpartition(".")[0]
            self._siblings[parent].append(module)
            self._alike[parent, self._contents[module]].append(module)

    def size(self, module: str) -> int:
        """Number of units in a module."""
        return self._sizes[module]

    def modules(self) -> Iterable[str]:
        """All of them."""
        return self._held.keys()

    def content(self, module: str) -> Counter[tuple[int, ...]]:
        """The shapes in a module, and how many there are of each."""
        return self._held[module]

    def rank(self, module: str) -> int:
        """Position of a module by its name, with numbers as numbers."""
        return self._ranks[module]

    def first(self, module: str) -> int:
        """The lowest number in the same parent, of a module or a layer."""
        return self._first[module.rpartition(".")[0]]

    def beside(self, module: str) -> set[int]:
        """The numbers in the same parent, of modules and layers."""
        return self._beside[module.rpartition(".")[0]]

    def siblings(self, module: str) -> list[str]:
        """The numbered modules in the same parent, in order."""
        return self._siblings[module.rpartition(".")[0]]

    def numbers(self, module: str) -> list[str]:
        """The numbers of the siblings."""
        return [number_of(each) for each in self.siblings(module)]

    def alike(self, module: str) -> list[str]:
        """The siblings of equal content, the module itself among them, in order."""
        return self._alike[module.rpartition(".")[0], self._contents[module]]

    def alike_beside(self, modules: Sequence[str]) -> set[str]:
        """All siblings of several modules with the same content as one of them."""
        return {each for module in modules for each in self.alike(module)}


class FreeBlocks:
    """The numbered modules of one side of which no layer is matched."""

    def __init__(self, family: Family, matched: Iterable[str]) -> None:
        taken = {module for path in matched for module in modules_of(path)}
        #: Module -> the contents of the free ones in it, each once.
        self._contents: defaultdict[str, dict[Hashable, Counter[tuple[int, ...]]]] = defaultdict(dict)
        for module in family.modules():
            if module not in taken:
                content = family.content(module)
                self._contents[module.rpartition(".")[0]][frozenset(content.items())] = content

    def could_be(self, block: str, content: Counter[tuple[int, ...]]) -> bool:
        """Whether one beside a block has all of a content: it may be meant as well, if it got the rest."""
        return any(content <= each for each in self._contents.get(block.rpartition(".")[0], {}).values())


def displaced(module: str, counterparts: Mapping[str, str], ours: Family, theirs: Family) -> bool:
    """Whether one beside a module has a partner of other content, and one without a partner has its own.

    Then all behind a block that was put in, or taken out, may have moved on.
    """
    for each in ours.siblings(module):
        target = counterparts.get(each)
        if target and ours.content(each) != theirs.content(target):
            partners = set(counterparts.values())
            came = (other for other in theirs.siblings(target) if other not in partners)
            left = (other for other in ours.siblings(module) if not counterparts.get(other))
            if any(theirs.content(other) == ours.content(each) for other in came):
                return True
            if any(ours.content(other) == theirs.content(target) for other in left):
                return True
    return False
