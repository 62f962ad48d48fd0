"""Finds square matrices of which nobody can see whether they were transposed like their neighbours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._migrate.steps import MOVE, NAMED, TRANSPOSED, Decision, Op, Step
from pytest_ckpt_compat._migrate.templates import segmented, starred

#: What transposes a matrix.
TRANSPOSITION = Op("permute", (1, 0))
_NUMBER = re.compile(r"\d+")


class Squares(NamedTuple):
    """What is not known of square matrices.

    Attributes:
        moves: the steps that move one, which are none until somebody says so.
        cautioned: step that moves one by somebody's word, or joins or divides -> the same, with what is said.
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
    transposed = [
        step for step in live if step.op == TRANSPOSITION and not _is_square(old.tensors[step.old[0]])
    ]
    if not transposed:
        return Squares(frozenset(), {}, ())
    kinds = {_kind(step.new[0], new) for step in transposed}
    moved = {step.old[0]: step for step in live if step.op == MOVE}
    taken = {*decided, *(key for step in live for key in step.old if step.op != MOVE)}
    found: dict[str, str] = {}
    cautioned: dict[Step, Step] = {}
    for key, spec in old.tensors.items():
        step = moved.get(key)
        target = step.new[0] if step is not None else key
        if not _is_square(spec) or key in taken or target not in new.tensors:
            continue
        if _kind(target, new) not in kinds:
            continue
        if step is not None and step.evidence == NAMED:
            said = f"it stays as it is, while {transposed[0].old[0]} is transposed"
            cautioned[step] = replace(step, caution=said)
        else:
            found[key] = target
    unseen = f"transposed, as {transposed[0].old[0]} was, the shapes do not show"
    for step in live:
        if not step.doubt and _has_square_parts(step, old, new) and _kind(step.new[0], new) in kinds:
            cautioned[step] = _with_doubt(step, f"the parts are square: whether they were {unseen}")
    text = f"it is square: whether it was {unseen}"
    moves = frozenset(moved[key] for key in found if key in moved)
    return Squares(moves, cautioned, tuple(decisions_about(found, text, old)))


def doubted_columns(step: Step, parts: Mapping[str, TensorSpec]) -> Step:
    """The step; with a doubt where square matrices stand beside each other in the columns of a joint one.

    A layer that has its weight the other way round (``Conv1D``) holds its outputs so, and a ``Linear``
    of each part has the transpose; one that was joined by its inputs has the parts as they are.

    Args:
        step: joins or divides.
        parts: the tensors of the side that has the parts.
    """
    keys = step.old if len(step.old) > 1 else step.new
    if step.op.numbers[:1] != (1,) or not all(_is_square(parts[key]) for key in keys):
        return step
    shape = "the parts are square and stand in columns"
    return _with_doubt(step, f"{shape}: whether each is to be transposed, the shapes do not show")


def _with_doubt(step: Step, text: str) -> Step:
    return replace(step, doubt="; ".join(filter(None, (step.doubt, text))))


def _has_square_parts(step: Step, old: Structure, new: Structure) -> bool:
    """Whether a step joins square matrices, or divides something into them."""
    keys, side = (step.old, old) if len(step.old) > 1 else (step.new, new)
    return len(keys) > 1 and all(_is_square(side.tensors[key]) for key in keys)


def _is_square(spec: TensorSpec) -> bool:
    return len(spec.shape) == 2 and spec.shape[0] == spec.shape[1] > 1


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
