"""Tells the weights of an adapter that a plain model is given: they are not to be dropped, but merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_ckpt_compat._check.explain import grouped
from pytest_ckpt_compat._core.adapters import adapted, is_adapters, trained_copies, unwrapped
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
    found = _of_wrapped_layers(_of_what_was_trained(found, old), old, new)
    return tuple(
        replace(each, kind="unmerged", detail=each.detail if each.kind == "prefixed" else "", advice="")
        if _is_adapters(each)
        else each
        for each in found
    )


def _of_what_was_trained(changes: tuple[Change, ...], old: Structure) -> tuple[Change, ...]:
    """The changes; a module that was trained in whole becomes the definition's, not the one from before.

    The two have the same shapes, and only their names say which is which.
    """
    trained = {
        before: after
        for before, after in trained_copies(old.tensors).items()
        if old.tensors[before] == old.tensors[after]
    }
    moved = {key for each in changes if each.new for key in each.old if key in trained}
    other = {key: trained[key] for key in moved} | {trained[key]: key for key in moved}
    return tuple(
        replace(each, old=tuple(other.get(key, key) for key in each.old), group="")
        if not other.keys().isdisjoint(each.old)
        else each
        for each in changes
    )


def _of_wrapped_layers(changes: tuple[Change, ...], old: Structure, new: Structure) -> tuple[Change, ...]:
    """The changes; a layer of which peft's own names alone tell what it was is the one that is missing."""
    missing = {each.new[0] for each in changes if each.kind == "missing" and len(each.new) == 1}
    alone = [each.old[0] for each in changes if each.kind == "unexpected" and len(each.old) == 1]
    names = {
        key: name
        for key, name in zip(alone, map(unwrapped, alone), strict=True)
        if is_adapters(key) and name in missing and old.tensors[key].shape == new.tensors[name].shape
    }
    if not names:
        return changes
    told = set(names.values())
    rest = [each for each in changes if each.kind != "missing" or not told.issuperset(each.new)]
    return grouped([_renamed(each, names, new) for each in rest], old, new)


def _renamed(change: Change, names: Mapping[str, str], new: Structure) -> Change:
    if change.kind != "unexpected" or change.old[0] not in names:
        return change
    name = names[change.old[0]]
    evidence = ("what peft calls it in a layer that it wraps",)
    return replace(
        change,
        kind="renamed",
        new=(name,),
        new_specs=(new.tensors[name],),
        confidence="likely",
        evidence=evidence,
    )


def _is_adapters(change: Change) -> bool:
    """Whether a change shows nothing but what peft makes of the keys of a model."""
    if change.kind not in _LOSING or not change.old or not all(map(is_adapters, change.old)):
        return False
    return not change.new or tuple(map(unwrapped, change.old)) == change.new
