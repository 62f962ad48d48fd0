"""Finds square matrices of which nobody can see whether they were transposed like their neighbours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._migrate.steps import MOVE, NAMED, TRANSPOSED, Decision, Op, Step
from pytest_ckpt_compat._migrate.templates import segmented, starred

#: What transposes a matrix.
TRANSPOSITION = Op("permute", (1, 0))
_NUMBER = re.compile(r"\d+")


class Squares(NamedTuple):
    """What is not known of square matrices.

    Attributes:
        moves: the steps that move one, which are none until somebody says so.
        cautioned: step of which somebody has said that it moves one as it is -> the same with a caution.
        decisions: what is to be decided of them, and of those that stay.
    """

    moves: frozenset[Step]
    cautioned: Mapping[Step, Step]
    decisions: tuple[Decision, ...]


def doubted_squares(
    live: Iterable[Step], decided: Collection[str], old: Structure, new: Structure
) -> Squares:
    """The square matrices beside transposed ones of which nobody has said what becomes of them.

    A layer that stores its weight the other way round (``Conv1D`` against ``Linear``) does so for square
    weights, too, and of these the shapes do not show it.

    Args:
        live: the steps that are certain.
        decided: old keys that are not to be looked at.
        old: the checkpoint.
        new: the model.
    """
    live = list(live)
    transposed = [step for step in live if step.op == TRANSPOSITION and not _is_square(step.old[0], old)]
    if not transposed:
        return Squares(frozenset(), {}, ())
    kinds = {_kind(step.new[0], new) for step in transposed}
    moved = {step.old[0]: step for step in live if step.op == MOVE}
    taken = {*decided, *(key for step in live for key in step.old if step.op != MOVE)}
    found: dict[str, str] = {}
    cautioned: dict[Step, Step] = {}
    for key in old.tensors:
        step = moved.get(key)
        target = step.new[0] if step is not None else key
        if not _is_square(key, old) or key in taken or target not in new.tensors:
            continue
        if _kind(target, new) not in kinds:
            continue
        if step is not None and step.evidence == NAMED:
            said = f"it stays as it is, while {transposed[0].old[0]} is transposed"
            cautioned[step] = replace(step, caution=said)
        else:
            found[key] = target
    text = f"it is square: whether it was transposed, as {transposed[0].old[0]} was, the shapes do not show"
    moves = frozenset(moved[key] for key in found if key in moved)
    return Squares(moves, cautioned, tuple(decisions_about(found, text, old)))


def _is_square(key: str, side: Structure) -> bool:
    shape = side.tensors[key].shape
    return len(shape) == 2 and shape[0] == shape[1] > 1


def decisions_about(found: Mapping[str, str], text: str, old: Structure) -> Iterator[Decision]:
    """A decision for the squares of one name in all blocks, if a star means no other key, or for each."""
    forms: dict[tuple[str, str], list[str]] = {}
    for key, target in found.items():
        alike = segmented(key)[1] == segmented(target)[1]
        forms.setdefault((starred(key), starred(target)) if alike else (key, target), []).append(key)
    for (before, after), keys in forms.items():
        meant = [key for key in old.tensors if starred(key) == before] if before != keys[0] else keys
        rows = [(before, after, keys)] if meant == keys else [(key, found[key], [key]) for key in keys]
        for one, other, members in rows:
            moved = one if one == other else f"{one} -> {other}"
            answers = (f"{one}={other}{TRANSPOSED}", f"{one}={other}")
            targets = tuple(found[key] for key in members)
            yield Decision(tuple(members), targets, text, moved, answers=answers)


def _kind(key: str, new: Structure) -> object:
    """What weights of one kind of layer share: the class of their module, or else their names' ends."""
    module, _, leaf = key.rpartition(".")
    known = new.modules.get(module)
    if known:
        return known, leaf
    block = _NUMBER.split(module)[0] if _NUMBER.search(module) else module.rpartition(".")[0]
    return block, leaf
