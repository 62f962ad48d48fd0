"""Finds square matrices of which nobody can see whether they were transposed like their neighbours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._migrate.steps import CHOSEN, Decision, Op, Step

_TRANSPOSED = Op("permute", (1, 0))
_NUMBER = re.compile(r"\d+")


def doubted_squares(live: Iterable[Step], old: Structure, new: Structure) -> dict[Step | None, Decision]:
    """Square matrices beside transposed ones: step that moves one, or None for one that stays -> a decision.

    A layer that stores its weight the other way round (``Conv1D`` against ``Linear``) does so for square
    weights, too, and of these the shapes do not show it.
    """
    live = list(live)
    transposed = [step for step in live if step.op == _TRANSPOSED]
    if not transposed:
        return {}
    kinds = {_kind(step.new[0], new) for step in transposed}
    moved = {step.old[0]: step for step in live if step.op.name == "move"}
    taken = {key for step in live for key in step.old}
    found: dict[Step | None, Decision] = {}
    stayed: list[str] = []
    for key, spec in old.tensors.items():
        if len(spec.shape) != 2 or spec.shape[0] != spec.shape[1] or spec.shape[0] == 1:
            continue
        step = moved.get(key)
        target = step.new[0] if step is not None else key
        if step is not None and step.evidence == CHOSEN:
            continue
        if (step is None and (key in taken or key not in new.tensors)) or _kind(target, new) not in kinds:
            continue
        if step is None:
            stayed.append(key)
        else:
            found[step] = Decision((key,), (target,), _text(transposed[0]), step.group)
    if stayed:
        found[None] = Decision(tuple(stayed), tuple(stayed), _text(transposed[0]))
    return found


def _text(step: Step) -> str:
    return f"it is square: whether it was transposed, as {step.old[0]} was, cannot be seen from the shapes"


def _kind(key: str, new: Structure) -> object:
    """What weights of one kind of layer share: the class of their module, or else their names' ends."""
    module, _, leaf = key.rpartition(".")
    known = new.modules.get(module)
    if known:
        return known, leaf
    block = _NUMBER.split(module)[0] if _NUMBER.search(module) else module.rpartition(".")[0]
    return block, leaf
