"""How sure each match is: what its cheapest alternative would cost, and what its block's number rests on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._core.changes import Confidence
from pytest_ckpt_compat._renames.match.alignment import Alignment
from pytest_ckpt_compat._renames.match.number_rules import NUMBERED
from pytest_ckpt_compat._renames.units.blocks import modules_of
from pytest_ckpt_compat._renames.units.units import Unit, shape_class

#: A match is certain if every alternative costs at least this much of the objective, and ambiguous if
#: one costs less than that. Of 27,000 certain matches on known refactors, read in both directions, none
#: was wrong.
_CERTAIN, _AMBIGUOUS = 2.0, 0.75


@dataclass(frozen=True)
class Judgement:
    """How sure a match is, and the new units that it could otherwise be (indexes)."""

    confidence: Confidence
    rivals: tuple[int, ...] = ()


def judge(
    old: Sequence[Unit],
    new: Sequence[Unit],
    found: Alignment,
    believed: Sequence[tuple[int, int]],
    unproven: Container[int] = (),
) -> dict[int, Judgement]:
    """A judgement of each believed match, by its old unit.

    Args:
        old: units of the old side.
        new: units of the new side.
        found: the alignment that the matches are from.
        believed: matches, as index of an old and of a new unit.
        unproven: old units that are never certain, whatever the objective says.
    """
    floating = {**_renumbered(old, new, believed), **_unanchored(old, new, believed)}
    judged: dict[int, Judgement] = {}
    for a, b in believed:
        doubt = found.doubts.get(a)
        if a in floating:
            judged[a] = Judgement("ambiguous", tuple(sorted({b, *floating[a]})))
        elif doubt is not None and doubt.cost < _AMBIGUOUS:
            judged[a] = Judgement("ambiguous", (b, doubt.other))
        elif a not in unproven and found.examined and (doubt is None or doubt.cost >= _CERTAIN):
            judged[a] = Judgement("certain")
        else:
            judged[a] = Judgement("likely")
    return judged


@dataclass(frozen=True)
class _Block:
    """A numbered module and the one it went to."""

    old: str
    new: str
    old_number: int
    new_number: int
    content: Hashable


def _unanchored(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> dict[int, list[int]]:
    """Old units in blocks that only their order tells from others, and whose numbers changed.

    For each the new units that it could be as well. Where a block of other content in the same family
    follows the same index map, that block anchors the map.
    """
    families: defaultdict[tuple[str, str], list[_Block]] = defaultdict(list)
    inside: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for a, b in believed:
        for module in modules_of(old[a].path):
            if module[-1].isdigit():
                inside[module].append((a, b))
    for module, members in inside.items():
        target = _counterpart([new[b].path for _, b in members])
        ours, theirs = NUMBERED.fullmatch(module), NUMBERED.fullmatch(target)
        if ours and theirs:
            content = frozenset(
                Counter((*shape_class(old[a].main), old[a].copies) for a, _ in members).items()
            )
            block = _Block(module, target, int(ours["number"]), int(theirs["number"]), content)
            families[ours["family"], theirs["family"]].append(block)
    floating: dict[int, list[int]] = {}
    for blocks in families.values():
        for block in blocks:
            twins = [other for other in blocks if other.content == block.content and other != block]
            if twins and not _anchored(block, blocks):
                for a, b in inside[block.old]:
                    floating.setdefault(a, []).extend(
                        other
                        for twin in twins
                        for _, other in inside[twin.old]
                        if _alike(new[other], new[b], twin, block)
                    )
    return floating


def _renumbered(
    old: Sequence[Unit], new: Sequence[Unit], believed: Sequence[tuple[int, int]]
) -> dict[int, list[int]]:
    """Old units that left a numbered family as its last member, with what stayed of the family.

    Where ``norm3`` seems to have become something else beside ``norm2``, it may as well be that
    ``norm2`` did, and that ``norm3`` is the ``norm2`` of today.
    """
    stayed: defaultdict[tuple[str, Hashable], list[tuple[int, int]]] = defaultdict(list)
    left: list[tuple[int, int, int, tuple[str, Hashable]]] = []
    for a, b in believed:
        ours, theirs = NUMBERED.fullmatch(old[a].path), NUMBERED.fullmatch(new[b].path)
        if not ours or old[a].parts:
            continue
        family = ours["family"], tuple((tensor.role, tensor.spec.shape) for tensor in old[a].tensors)
        if old[a].path == new[b].path:
            stayed[family].append((int(ours["number"]), b))
        elif not theirs or theirs["family"] != ours["family"]:
            left.append((a, b, int(ours["number"]), family))
    return {
        a: [place for _, place in stayed[family]]
        for a, b, number, family in left
        if stayed[family] and number > max(other for other, _ in stayed[family])
    }


def _anchored(block: _Block, family: Sequence[_Block]) -> bool:
    shift, total = block.new_number - block.old_number, block.new_number + block.old_number
    if shift == 0:
        return True
    return any(
        other.content != block.content
        and (other.new_number - other.old_number == shift or other.new_number + other.old_number == total)
        for other in family
    )


def _alike(unit: Unit, other: Unit, block: _Block, twin: _Block) -> bool:
    """Whether two new units have the same place in two blocks."""
    return unit.path[len(block.new) :] == other.path[len(twin.new) :]


def _counterpart(paths: Sequence[str]) -> str:
    """The numbered module that all, or most, of the paths lie in; "" if there is none."""
    votes = Counter(module for path in paths for module in modules_of(path) if module[-1].isdigit())
    if not votes:
        return ""
    most = max(votes.values())
    best = [module for module, number in votes.items() if number == most]
    return max(best, key=len) if most * 2 > len(paths) else ""
