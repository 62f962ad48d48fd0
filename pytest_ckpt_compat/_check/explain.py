"""Missing and unexpected keys explained: which became which."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import OBJECT, Structure, TensorSpec

#: Facts that an explanation may take the place of.
_EXPLAINED: frozenset[Kind] = frozenset({"missing", "unexpected", "resized", "head-resized"})


def explain(facts: Iterable[Change], old: Structure, new: Structure) -> tuple[Change, ...]:
    """The facts, those about keys that only changed their name replaced by what became of them.

    The facts are torch's. A hook may have dealt with keys that the two structures do not share:
    such keys are not in the facts and need no explanation.

    Args:
        facts: what a load found.
        old: the checkpoint.
        new: the definition.
    """
    told = tuple(facts)
    open_facts = [fact for fact in told if fact.kind in _EXPLAINED]
    lost = {key for fact in open_facts for key in fact.old}
    gained = {key for fact in open_facts for key in fact.new}
    if not lost or not gained:
        return told
    from pytest_ckpt_compat._renames import infer  # only a check that found something pays for it

    known = {(fact.kind, fact.old, fact.new): fact for fact in told}
    kept = [
        known.get((change.kind, change.old, change.new), change)
        for change in infer(*_sides(old, new, lost, gained))
        if (change.kind not in _EXPLAINED and change.old != change.new)
        or (lost.issuperset(change.old) and gained.issuperset(change.new))
    ]
    lost = {key for change in kept for key in change.old}
    gained = {key for change in kept for key in change.new}
    rest = (
        fact
        for fact in told
        if fact.kind not in _EXPLAINED or not (lost.issuperset(fact.old) and gained.issuperset(fact.new))
    )
    return (*kept, *rest)


def _sides(
    old: Structure, new: Structure, lost: set[str], gained: set[str]
) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """The tensors of either side, without those that a hook has dealt with."""
    hooked = any(key not in new.tensors and key not in lost for key in _tensors(old))
    befores = {key: spec for key, spec in _tensors(old).items() if key in new.tensors or key in lost}
    if not hooked:
        # Keys that torch filled in by itself (num_batches_tracked) belong to their layers.
        return befores, _tensors(new)
    return befores, {k: spec for k, spec in _tensors(new).items() if k in old.tensors or k in gained}


def _tensors(structure: Structure) -> dict[str, TensorSpec]:
    return {key: spec for key, spec in structure.tensors.items() if spec.dtype != OBJECT}
