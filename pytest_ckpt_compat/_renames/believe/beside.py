"""How much of what changed beside a match is explained, where other layers kept their place.

A module that keeps as many of its layers as changed in it is still there. Of what changed in it, a layer
may have a new name, or have gone while another of its shape came; the latter is rare where all that went
has a partner among all that came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from pytest_ckpt_compat._renames.units.paths import modules_of
from pytest_ckpt_compat._renames.units.units import Unit


def explained_beside(
    old: Sequence[Unit],
    new: Sequence[Unit],
    kept: Collection[tuple[int, int]],
    moved: Sequence[tuple[int, int]],
    counted: tuple[Collection[int], Collection[int]],
) -> dict[tuple[int, int], float]:
    """Returns, for each match, the matched share of the changed layers of the module around it.

    It is the innermost one that is on both sides and keeps as many layers as changed; 0 if there is none.

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
    around = {(a, b): stayed.intersection(modules_of(old[a].path), modules_of(new[b].path)) for a, b in moved}
    matched = Counter(module for modules in around.values() for module in modules)
    shares = {module: matched[module] / max(ours[module], theirs[module], 1) for module in matched}
    return {
        pair: min(shares[max(modules, key=len)], 1.0) if modules else 0.0 for pair, modules in around.items()
    }


def _held(units: Sequence[Unit], counted: Collection[int]) -> Counter[str]:
    return Counter(module for index in counted for module in modules_of(units[index].path))
