"""Tells the weights of an adapter that a plain model is given: they are not to be dropped, but merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_ckpt_compat._core.adapters import adapted, is_adapters, unwrapped
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import Structure

#: Kinds of changes whose advice would lose an adapter: to drop a tensor, or to rename it.
_LOSING: frozenset[Kind] = frozenset({"unexpected", "renamed", "prefixed"})


def restated(changes: Iterable[Change], old: Structure, new: Structure) -> tuple[Change, ...]:
    """The changes; those of an adapter's weights as ``unmerged``, where the definition has none.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    found = tuple(changes)
    if not adapted(old.tensors) or adapted(new.tensors):
        return found
    return tuple(
        replace(each, kind="unmerged", detail=each.detail if each.kind == "prefixed" else "", advice="")
        if _is_adapters(each)
        else each
        for each in found
    )


def _is_adapters(change: Change) -> bool:
    """Whether a change shows nothing but what peft makes of the keys of a model."""
    if change.kind not in _LOSING or not change.old or not all(map(is_adapters, change.old)):
        return False
    return not change.new or tuple(map(unwrapped, change.old)) == change.new
