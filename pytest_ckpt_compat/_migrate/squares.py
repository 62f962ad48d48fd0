"""Finds square matrices of which nobody can see whether they were transposed like their neighbours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    live: Sequence[Step], doubtful: Sequence[Step], decided: Collection[str], old: Structure, new: Structure
) -> Squares:
    """The square matrices beside transposed ones of which nobody has said what becomes of them.

    A layer that stores its weight the other way round (``Conv1D`` against ``Linear``) does so for square
    weights, too, and of these the shapes do not show it.

    Args:
        live: the steps that are certain.
        doubtful: those that are not.
        decided: old keys that are not to be looked at.
        old: the checkpoint.
        new: the model.
    """
    told = [*live, *(step for step in doubtful if step.confidence == "likely")]
    transposed = [step for step in told if step.op == TRANSPOSITION and not _moves_square(step, old)]
    if not transposed:
        return Squares(frozenset(), {}, ())
    kinds, first = {_kind(step.new[0], new) for step in transposed}, transposed[0].old[0]
    beside = [step for step in (*live, *doubtful) if step.new and _kind(step.new[0], new) in kinds]
    unseen = f"transposed, as {first} was, the shapes do not show"
    said = f"it is square: whether it was {unseen}"
    cautioned, moves, found = dict[Step, Step](), set[Step](), dict[str, str]()
    for step in beside:
        if not step.doubt and _has_square_parts(step, old, new):
            cautioned[step] = _with_doubt(step, f"the parts are square: whether they were {unseen}")
        elif step.op == MOVE and _moves_square(step, old):
            if step.evidence == NAMED:
                cautioned[step] = replace(step, caution=f"it stays as it is, while {first} is transposed")
            elif step.confidence != "certain":
                cautioned[step] = replace(step, caution=step.caution or said)
            elif step.old[0] not in decided:
                moves.add(step)
                found[step.old[0]] = step.new[0]
    taken = {*decided, *(key for step in (*live, *doubtful) for key in step.old)}
    found |= {
        key: key
        for key, spec in old.tensors.items()
        if key not in taken and key in new.tensors and _is_square(spec) and _kind(key, new) in kinds
    }
    found = {key: found[key] for key in old.tensors if key in found}
    return Squares(frozenset(moves), cautioned, tuple(decisions_about(found, said, old)))


def _moves_square(step: Step, old: Structure) -> bool:
    return _is_square(old.tensors[step.old[0]])


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
