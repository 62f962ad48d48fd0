"""Matches of siblings that what layers of their names became elsewhere speaks against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from pytest_ckpt_compat._renames.units.paths import home, is_number
from pytest_ckpt_compat._renames.units.units import Unit


def contradicted(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]], alike: Collection[int]
) -> set[tuple[int, int]]:
    """Finds the pairs of siblings alike in which a layer would take another's name than it has elsewhere.

    Where shapes tell ``w2`` from ``w1`` and ``w3``, it became ``down_proj``. Where they don't, and a sibling
    is ``down_proj``, it is hardly ``up_proj``, whatever numbers say. A number alone is no name.

    Args:
        old: units of the old side.
        new: units of the new side.
        pairs: matches, as (index of an old unit, index of a new unit).
        alike: old units that could exchange partners with a sibling.
    """
    own = {(a, b): (_own_name(old[a].path), _own_name(new[b].path)) for a, b in pairs}
    named = {pair: names for pair, names in own.items() if not any(map(is_number, names))}
    became: defaultdict[str, set[str]] = defaultdict(set)
    was: defaultdict[str, set[str]] = defaultdict(set)
    for (a, _), (one, other) in named.items():
        if a not in alike:
            became[one].add(other)
            was[other].add(one)
    beside: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for a, b in named:
        if a in alike:
            beside[home(old[a].path)].append((a, b))
    found: set[tuple[int, int]] = set()
    for siblings in beside.values():
        ours, theirs = ({named[pair][side] for pair in siblings} for side in (0, 1))
        for pair in siblings:
            one, other = named[pair]
            if _is_another(other, became.get(one, ()), theirs) or _is_another(one, was.get(other, ()), ours):
                found.add(pair)
    return found


def _is_another(name: str, elsewhere: Collection[str], here: Collection[str]) -> bool:
    """Whether a name is another one than elsewhere, and that of a sibling is the same."""
    return name not in elsewhere and any(each in here for each in elsewhere)


def _own_name(path: str) -> str:
    return path.rpartition(".")[2]
