"""Layers of one name whose numbers run in step with those of their partners, whatever blocks are around them.

Blocks are matched by what they hold. Where those of one side have no counterpart on the other, because what
a block holds came from several modules (``convs.0`` and ``bns.0`` became ``layers.0``) or two levels became
one (``down.1.blocks.0`` became ``input_blocks.4``), the layers themselves can still be counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from pytest_ckpt_compat._renames.believe.ranks import increasing
from pytest_ckpt_compat._renames.units.paths import natural, numbers, template, without_numbers
from pytest_ckpt_compat._renames.units.units import Unit

#: Number of layers from which on they run forwards.
MANY = 6


def in_step(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the pairs that the numbers of all layers of their name settle.

    All layers of one name became all layers of another, with the same numbers; or a single number on one side
    rises with those of the other, and either layers of other sizes stand among them or they are many.
    """
    names: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for a, b in pairs:
        names[template(old[a].path), template(new[b].path)].append((a, b))
    held = _held(old), _held(new)
    found: set[tuple[int, int]] = set()
    for (ours, theirs), members in names.items():
        before, after = [old[a] for a, _ in members], [new[b] for _, b in members]
        if len(members) < 2 or not (_is_all(before, held[0][ours]) and _is_all(after, held[1][theirs])):
            continue
        one, other = _varying(before), _varying(after)
        if (one == other and _numbers_kept(before[0], after[0])) or (
            _is_counted(one, other) and _is_anchored(before, min(one, other, key=lambda n: len(n[0])))
        ):
            found.update(members)
    return found


def rising(
    old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Finds the pairs of layers of one name, all of them, whose numbers rise with those of their partners.

    Numbers in names count as well: ``block_1.conv`` and ``block_2.conv`` became ``blocks.0.conv`` and
    ``blocks.1.conv``.
    """
    names: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for a, b in pairs:
        names[without_numbers(old[a].path), without_numbers(new[b].path)].append((a, b))
    held = (
        Counter(without_numbers(unit.path) for unit in old),
        Counter(without_numbers(unit.path) for unit in new),
    )
    found: set[tuple[int, int]] = set()
    for (ours, theirs), members in names.items():
        if held[0][ours] == len(members) == held[1][theirs]:
            after = [
                natural(new[b].path) for _, b in sorted(members, key=lambda pair: natural(old[pair[0]].path))
            ]
            found.update(members if len(members) > 1 and increasing(after) else ())
    return found


def _held(units: Sequence[Unit]) -> dict[str, Counter[Hashable]]:
    """Returns name -> how many layers of each size have it."""
    found: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for unit in units:
        found[template(unit.path)][unit.slot] += 1
    return found


def _is_all(members: Sequence[Unit], held: Counter[Hashable]) -> bool:
    """Whether no other layer of the same name has the size of one of these."""
    return all(held[slot] == number for slot, number in Counter(unit.slot for unit in members).items())


def _varying(members: Sequence[Unit]) -> list[tuple[int, ...]]:
    """Returns the numbers by which layers of one name differ."""
    columns = zip(*(numbers(unit.path) for unit in members), strict=True)
    return list(zip(*(column for column in columns if len(set(column)) > 1), strict=True))


def _numbers_kept(before: Unit, after: Unit) -> bool:
    """Whether a layer is in blocks of the same numbers on both sides, or in blocks of other levels."""
    one, other = numbers(before.path), numbers(after.path)
    return one == other or len(one) != len(other)


def _is_counted(one: Sequence[tuple[int, ...]], other: Sequence[tuple[int, ...]]) -> bool:
    """Whether the one number of one side rises with several of the other, or several all move by one step.

    One number that became one other is a block's: there, what stands in front of it counts as well.
    """
    pairs = sorted(zip(one, other, strict=True))
    levels = sorted((len(one[0]), len(other[0])))
    if levels[0] == levels[1] > 1:
        steps = {tuple(n - m for m, n in zip(ours, theirs, strict=True)) for ours, theirs in pairs}
        return len(steps) == 1 and len(set(*steps) - {0}) == 1
    return levels[0] == 1 < levels[1] and increasing([after for _, after in pairs])


def _is_anchored(members: Sequence[Unit], counts: Sequence[tuple[int, ...]]) -> bool:
    """Whether layers of other sizes stand among them, or one of the numbers counts many."""
    kinds = {unit.slot for unit in members}
    return len(kinds) > 1 or any(len(set(column)) >= MANY for column in zip(*counts, strict=True))
