"""Two lists of keys as one tree of rows, in which what corresponds stands side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from pytest_ckpt_compat._report.html.links import Linked

#: Levels of modules; a path below them stays one name.
_DEEPEST = 50
#: Share of the tensors that have to be a level deeper where a side has one level more around them.
_NEARLY_ALL = 0.9


@dataclass
class Row:
    """A module or a tensor of one side, or of both.

    Attributes:
        left: its name in the checkpoint, or None if the checkpoint has none here.
        right: its name in the definition, or None.
        rows: what is in it; () for a tensor.
        old: positions of the checkpoint's keys that it stands for; () for a module.
        new: positions of the definition's keys.
        level: whether one side lacks only this level, and has what is below it.
    """

    left: str | None
    right: str | None
    rows: tuple[Row, ...] = ()
    old: tuple[int, ...] = ()
    new: tuple[int, ...] = ()
    level: bool = False


@dataclass(frozen=True)
class Paired:
    """The rows, and the keys in the order of their positions.

    Attributes:
        rows: the outermost rows.
        old: keys of the checkpoint.
        new: keys of the definition.
    """

    rows: tuple[Row, ...]
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass
class Node:
    """A module or a tensor of one side. Its keys are those from position ``start`` to before ``end``."""

    name: str
    depth: int
    leaf: bool = False
    start: int = 0
    end: int = 0
    below: dict[tuple[str, bool], Node] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What is in it, in order."""
        return tuple(self.below.values())


@dataclass(frozen=True)
class Side:
    """One side as a tree.

    Attributes:
        root: the tree.
        keys: in the order of the tree.
        depths: how many modules each of them is in.
    """

    root: Node
    keys: tuple[str, ...]
    depths: tuple[int, ...]


def side(keys: Iterable[str]) -> Side:
    """Makes a tree of keys."""
    root = Node("", 0)
    for key in keys:
        node, parts = root, key.split(".", _DEEPEST)
        for part in parts[:-1]:
            node = node.below.setdefault((part, False), Node(part, node.depth + 1))
        node.below[parts[-1], True] = Node(parts[-1], node.depth + 1, leaf=True)
    found: list[str] = []
    depths: list[int] = []

    def number(node: Node, path: str) -> None:
        node.start = len(found)
        if node.leaf:
            found.append(path)
            depths.append(node.depth)
        for each in node.below.values():
            number(each, f"{path}.{each.name}" if node.depth else each.name)
        node.end = len(found)

    number(root, "")
    return Side(root, tuple(found), tuple(depths))


def paired(linked: Linked) -> Paired:
    """Puts the two sides next to each other: each module beside the one that got most of its tensors."""
    old, new = side(linked.old), side(linked.new)
    at_old = {key: place for place, key in enumerate(old.keys)}
    at_new = {key: place for place, key in enumerate(new.keys)}
    partners: dict[int, list[int]] = {at_old[key]: [at_new[key]] for key in linked.same}
    for fact in linked.facts:
        for a, b in fact.pairs:
            partners.setdefault(at_old[a], []).append(at_new[b])
    pairing = _Pairing(old, new, partners)
    if pairing.are_alike(old.root, new.root):
        return Paired(tuple(map(_beside_itself, old.root.nodes)), old.keys, new.keys)
    rows = pairing.rows(old.root.nodes, new.root.nodes)
    return Paired(rows, old.keys, new.keys)


class _Pairing:
    """Pairs nodes by the tensors that they share."""

    def __init__(self, old: Side, new: Side, partners: Mapping[int, Sequence[int]]) -> None:
        self.old, self.new, self.partners = old, new, partners
        same = old.keys == new.keys
        #: How many keys, up to each position, do not belong to the one in their place, and to no other.
        self._apart = [0, *accumulate(not same or partners.get(at) != [at] for at in range(len(old.keys)))]

    def are_alike(self, old: Node, new: Node) -> bool:
        """Whether two nodes hold the same, each key beside its own: as nearly all do, and need no look."""
        ends = (old.start, old.end) == (new.start, new.end)
        return ends and self._apart[old.start] == self._apart[old.end]

    def rows(self, olds: Sequence[Node], news: Sequence[Node]) -> tuple[Row, ...]:
        """The rows of some nodes of both sides."""
        if not olds or not news:
            return tuple(_alone(node, True) for node in olds) + tuple(_alone(node, False) for node in news)
        if len(olds) == len(news) == 1 and self._are_one(olds[0], news[0]):
            return (Row(olds[0].name, news[0].name, (), (olds[0].start,), (news[0].start,)),)
        shared = self._shared(olds, news)
        groups = self._levels(olds, news, shared)
        groups += _couples(olds, news, shared.shares, groups)
        return self._ordered(olds, news, groups)

    def _are_one(self, old: Node, new: Node) -> bool:
        """Whether two nodes are tensors that belong together."""
        belong = old.name == new.name or new.start in self.partners.get(old.start, ())
        return old.leaf and new.leaf and belong

    def _shared(self, olds: Sequence[Node], news: Sequence[Node]) -> _Shared:
        """How many tensors each old node shares with each new node, and how many levels lie between them."""
        order = sorted(range(len(news)), key=lambda j: news[j].start)
        starts = [news[j].start for j in order]
        shares: Counter[tuple[int, int]] = Counter()
        deeper: Counter[tuple[str, int, int]] = Counter()
        for i, node in enumerate(olds):
            for place in range(node.start, node.end):
                for other in self.partners.get(place, ()):
                    j = order[max(bisect_right(starts, other) - 1, 0)]
                    if news[j].start <= other < news[j].end:
                        shares[i, j] += 1
                        below_old = self.old.depths[place] - node.depth
                        below_new = self.new.depths[other] - news[j].depth
                        deeper["old", i, j] += below_old > below_new
                        deeper["new", i, j] += below_new > below_old
        return _Shared(shares, deeper)

    def _levels(self, olds: Sequence[Node], news: Sequence[Node], shared: _Shared) -> list[_Group]:
        """Modules that one side has as a further level around what the other side has here."""
        found: list[_Group] = []
        used_old: set[int] = set()
        used_new: set[int] = set()
        from_old, to_new = _inverse(shared.sources_of_new), _inverse(shared.targets_of_old)
        for i, node in enumerate(olds):
            members = from_old[i]
            deeper = shared.are_deeper("old", [(i, j) for j in members])
            if deeper and node.name not in {news[j].name for j in members}:
                found.append(_Group((i,), tuple(sorted(members)), "old"))
                used_old.add(i)
                used_new.update(members)
        for j, node in enumerate(news):
            if j in used_new:
                continue
            members = [i for i in to_new[j] if i not in used_old]
            deeper = shared.are_deeper("new", [(i, j) for i in members])
            if deeper and node.name not in {olds[i].name for i in members}:
                found.append(_Group(tuple(sorted(members)), (j,), "new"))
                used_old.update(members)
        return found

    def _ordered(
        self, olds: Sequence[Node], news: Sequence[Node], groups: Sequence[_Group]
    ) -> tuple[Row, ...]:
        """The rows in the order of the definition; what only the checkpoint has follows what it followed."""
        of_old = {i: group for group in groups for i in group.old}
        of_new = {j: group for group in groups for j in group.new}
        after: defaultdict[_Group | None, list[Row]] = defaultdict(list)
        last: _Group | None = None
        for i, node in enumerate(olds):
            if i in of_old:
                last = of_old[i]
            else:
                after[last].append(_alone(node, True))
        rows: list[Row] = list(after[None])
        done: set[_Group] = set()
        for j, node in enumerate(news):
            group = of_new.get(j)
            if group is None:
                rows.append(_alone(node, False))
            elif group not in done:
                done.add(group)
                rows += [self._row(group, olds, news), *after[group]]
        return tuple(rows)

    def _row(self, group: _Group, olds: Sequence[Node], news: Sequence[Node]) -> Row:
        left, right = [olds[i] for i in group.old], [news[j] for j in group.new]
        if group.level == "old":
            return Row(left[0].name, None, self.rows(left[0].nodes, right), level=True)
        if group.level == "new":
            return Row(None, right[0].name, self.rows(left, right[0].nodes), level=True)
        a, b = left[0], right[0]
        if a.leaf:
            return Row(a.name, b.name, (), (a.start,), (b.start,))
        if a.name == b.name and self.are_alike(a, b):
            return _beside_itself(a)
        return Row(a.name, b.name, self.rows(a.nodes, b.nodes))


@dataclass(frozen=True)
class _Group:
    """Positions of nodes that share a row, and the side that has one level more."""

    old: tuple[int, ...]
    new: tuple[int, ...]
    level: str = ""


class _Shared:
    """How many tensors nodes share, and for each node the one that it shares most with."""

    def __init__(self, shares: Counter[tuple[int, int]], deeper: Counter[tuple[str, int, int]]) -> None:
        self.shares, self.deeper = shares, deeper
        self.targets_of_old: dict[int, int] = {}
        self.sources_of_new: dict[int, int] = {}
        for (i, j), number in sorted(shares.items()):
            if number > shares[i, self.targets_of_old.setdefault(i, j)]:
                self.targets_of_old[i] = j
            if number > shares[self.sources_of_new.setdefault(j, i), j]:
                self.sources_of_new[j] = i

    def are_deeper(self, side: str, pairs: Sequence[tuple[int, int]]) -> bool:
        """Whether nearly all tensors that nodes share are in one module more on a side."""
        total = sum(self.shares[pair] for pair in pairs)
        return total > 0 and sum(self.deeper[side, i, j] for i, j in pairs) >= _NEARLY_ALL * total


def _inverse(chosen: Mapping[int, int]) -> defaultdict[int, list[int]]:
    """What is chosen -> by whom."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for one, other in chosen.items():
        found[other].append(one)
    return found


def _couples(
    olds: Sequence[Node], news: Sequence[Node], shares: Counter[tuple[int, int]], groups: Sequence[_Group]
) -> list[_Group]:
    """Pairs of one old and one new node: those that share most first, then those of one name."""
    free_old = set(range(len(olds))) - {i for group in groups for i in group.old}
    free_new = set(range(len(news))) - {j for group in groups for j in group.new}
    named = {(node.name, node.leaf): j for j, node in enumerate(news)}
    by_share = sorted(shares, key=lambda at: (-shares[at], olds[at[0]].name != news[at[1]].name, at))
    names = [(i, (node.name, node.leaf)) for i, node in enumerate(olds)]
    by_name = [(i, named[name]) for i, name in names if name in named]
    found = []
    for i, j in (*by_share, *by_name):
        if i in free_old and j in free_new and olds[i].leaf == news[j].leaf:
            free_old.remove(i)
            free_new.remove(j)
            found.append(_Group((i,), (j,)))
    return found


def _beside_itself(node: Node) -> Row:
    """A row, and all below it, that both sides have."""
    if node.leaf:
        return Row(node.name, node.name, (), (node.start,), (node.start,))
    return Row(node.name, node.name, tuple(map(_beside_itself, node.nodes)))


def _alone(node: Node, is_old: bool) -> Row:
    """A row, and all below it, of one side alone."""
    left, right = (node.name, None) if is_old else (None, node.name)
    if node.leaf:
        place = (node.start,)
        return Row(left, right, (), place if is_old else (), () if is_old else place)
    return Row(left, right, tuple(_alone(each, is_old) for each in node.nodes))
