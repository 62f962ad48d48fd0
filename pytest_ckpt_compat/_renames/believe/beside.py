"""How much of what changed beside a match is explained, where other layers kept their place.

A module that keeps as many of its layers as changed in it is still there. Of what changed in it, a layer
may have a new name, or have gone while another of its shape came; the latter is rare where all that went
has a partner among all that came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from pytest_ckpt_compat._renames.units.paths import around
from pytest_ckpt_compat._renames.units.units import Unit


def explained_beside(
    old: Sequence[Unit],
    new: Sequence[Unit],
    kept: Collection[tuple[int, int]],
    moved: Sequence[tuple[int, int]],
    counted: tuple[Collection[int], Collection[int]],
) -> dict[tuple[int, int], float]:
    """Returns, for each match, the matched share of what changed in the module around it.

    It is the innermost module that is on both sides and keeps as many layers as changed; 0 if there is none.
    A part of it that went as a whole, while one with a layer of the same name came, is judged for itself: the
    share is that of the two parts, if larger.

    Args:
        old: units of the old side.
        new: units of the new side.
        kept: the matches that are the same on both sides.
        moved: the others.
        counted: the changed units of each side.
    """
    ours, theirs = _held(old, counted[0]), _held(new, counted[1])
    remained = _held(old, [a for a, _ in kept])
    stayed = {module for module, number in remained.items() if number >= max(ours[module], theirs[module])}
    common = {(a, b): stayed.intersection(around(old[a].path), around(new[b].path)) for a, b in moved}
    inner = {pair: max(modules, key=len) for pair, modules in common.items() if modules}
    parts = {(a, b): _parts(old[a].path, new[b].path, module) for (a, b), module in inner.items()}
    matched = Counter(module for modules in common.values() for module in modules)
    among = Counter(parts.values())
    result = dict.fromkeys(moved, 0.0)
    for (a, b), (one, other) in parts.items():
        module = inner[a, b]
        if module:
            result[a, b] = matched[module] / max(ours[module], theirs[module], 1)
        alike = old[a].path.rpartition(".")[2] == new[b].path.rpartition(".")[2]
        if alike and not remained[one] and not remained[other]:
            result[a, b] = max(result[a, b], among[one, other] / max(ours[one], theirs[other], 1))
    return {pair: min(share, 1.0) for pair, share in result.items()}


def _parts(one: str, other: str, module: str) -> tuple[str, str]:
    """The parts of a module around both paths in which they lie."""
    depth = module.count(".") + 2 if module else 1
    return ".".join(one.split(".")[:depth]), ".".join(other.split(".")[:depth])


def _held(units: Sequence[Unit], counted: Collection[int]) -> Counter[str]:
    """Counts the given units in each module, and each as a part of its own."""
    return Counter(module for index in counted for module in (*around(units[index].path), units[index].path))
