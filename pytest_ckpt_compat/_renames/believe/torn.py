"""Layers that seem to have left their block for another one, while the blocks around stayed what they were.

``blocks.1.fc`` is unchanged, and ``blocks.2`` has a ``skip`` now that ``blocks.1`` had. Either a block was
inserted in front, or the layer was taken out here and put in there: nobody can say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set

from pytest_ckpt_compat._renames.units.paths import blocks_around, numbers, template
from pytest_ckpt_compat._renames.units.units import Unit


def torn(old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Finds the pairs that go against those of most layers of both their blocks.

    The old block has layers in several blocks of one family, and the new one has some of several. Where most
    of the one is in the other, several blocks became one, or one became several.
    """
    linked = {(a, b): list(_links(old[a].path, new[b].path)) for a, b in pairs}
    targets: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    sources: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for links in linked.values():
        for here, there in links:
            targets[here, _parent(there)][there] += 1
            sources[there, _parent(here)][here] += 1

    def against(here: str, there: str) -> bool:
        ways, origins = (here, _parent(there)), (there, _parent(here))
        if len(targets[ways]) < 2 or len(sources[origins]) < 2:
            return False
        return not (_is_most(here, there, targets[ways]) or _is_most(there, here, sources[origins]))

    found = {pair for pair, links in linked.items() if any(against(*link) for link in links)}
    return found - _moved_together(old, new, found, linked.keys() - found)


def _moved_together(
    old: Sequence[Unit],
    new: Sequence[Unit],
    pairs: Set[tuple[int, int]],
    stayed: Set[tuple[int, int]],
) -> set[tuple[int, int]]:
    """Those of one name of which each has a size of its own: what ends a stage begins the next one now.

    Not if the rest of their blocks could have moved with them, nor if others of their name stayed in theirs.
    """
    paths = ((old[a].path, new[b].path) for a, b in stayed)
    kept = [(one, other) for one, other in paths if numbers(one) == numbers(other) != ()]
    names_kept = {template(one) for one, _ in kept}, {template(other) for _, other in kept}
    ours, theirs = {unit.path: unit.slot for unit in old}, {unit.path: unit.slot for unit in new}
    blocks: defaultdict[str, list[str]] = defaultdict(list)
    for path in ours.keys() - {old[a].path for a, _ in pairs}:
        for block in blocks_around(path):
            blocks[block].append(path[len(block) :])

    def alone(a: int, b: int) -> bool:
        for here, there in _links(old[a].path, new[b].path):
            others = (theirs.get(f"{there}{rest}") == ours[f"{here}{rest}"] for rest in blocks[here])
            if here != there and any(others):
                return False
        return True

    names: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for a, b in pairs:
        one, other = template(old[a].path), template(new[b].path)
        if one not in names_kept[0] and other not in names_kept[1]:
            names[one, other].append((a, b))
    return {
        pair
        for members in names.values()
        if len({old[a].slot for a, _ in members}) == len(members) > 1
        for pair in members
        if alone(*pair)
    }


def _links(old: str, new: str) -> Iterator[tuple[str, str]]:
    """The numbered modules around both layers."""
    for here in blocks_around(old):
        for there in blocks_around(new):
            yield here, there


def _is_most(module: str, other: str, votes: Counter[str]) -> bool:
    """Whether most of a module is in another one; of two halves, the one with the same number counts more."""
    same = module.rpartition(".")[2] == other.rpartition(".")[2]
    return 2 * votes[other] + same > votes.total()


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
