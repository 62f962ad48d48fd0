"""Parts of which a model has several: one that went and one that came may be two of them.

``rgb`` went and ``touch`` came, of the same content as ``audio``, which stayed. Nothing in the names says
that the one is the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence, Set

from pytest_ckpt_compat._renames.units.paths import is_number, modules_of
from pytest_ckpt_compat._renames.units.tokens import segment_tokens
from pytest_ckpt_compat._renames.units.units import Unit


def one_of_several(
    old: Sequence[Unit], new: Sequence[Unit], chosen: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the matches of parts that have another name, where a part beside of equal content kept its own.

    A name that says more or less than the other (``attn`` and ``self_attn``) is the same one.
    """
    ours, theirs = _contents(old), _contents(new)
    beside = _kept(ours, theirs)
    found: set[tuple[int, int]] = set()
    for a, b in chosen:
        part, other = _renamed(old[a].path, theirs.keys()), _renamed(new[b].path, ours.keys())
        if not part or not other or is_number(_name(part)) or is_number(_name(other)):
            continue
        words, there = set(segment_tokens(_name(part))), set(segment_tokens(_name(other)))
        alone = (
            ours[part].total() < 2 or theirs[other].total() < 2
        )  # a layer's own name is judged beside others
        if (
            not alone
            and not (words <= there or there <= words)
            and beside[_parent(part), _content(ours[part])]
        ):
            found.add((a, b))
    return found


def _renamed(path: str, there: Set[str]) -> str:
    """Returns the outermost module around a layer, or the layer itself, that the other side does not have."""
    return next((module for module in (*modules_of(path), path) if module not in there), "")


def _kept(
    ours: dict[str, Counter[Hashable]], theirs: dict[str, Counter[Hashable]]
) -> Counter[tuple[str, Hashable]]:
    """Counts the parts that both sides have, without numbers, by the module around them and their content."""
    return Counter(
        (_parent(path), _content(held))
        for path, held in ours.items()
        if theirs.get(path) == held and not is_number(_name(path))
    )


def _contents(units: Sequence[Unit]) -> dict[str, Counter[Hashable]]:
    """Counts the layers in each module by shape and copies. A layer counts as a module of its own."""
    contents: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for unit in units:
        for module in (*modules_of(unit.path), unit.path):
            contents[module][unit.slot] += 1
    return contents


def _content(held: Counter[Hashable]) -> Hashable:
    return frozenset(held.items())


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _name(path: str) -> str:
    return path.rpartition(".")[2]
