"""Tied tensors of another size; above all a head that is also the embedding of the tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_ckpt_compat._check.sizes import embeds, only_rows
from pytest_ckpt_compat._core.changes import TIED, Change, Kind
from pytest_ckpt_compat._core.structure import Structure

_RESIZED: frozenset[Kind] = frozenset({"resized", "head-resized"})


def with_tied_heads(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; those of one tensor, a head among them, told as one.

    Such a head cannot be left out, nor its other names dropped or given a default: it is what embeds. Nor can
    a missing key be given a default that is tied to any other tensor of another size.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    ours, theirs = _groups(old), _groups(new)
    told: dict[int, Change] = {}
    for one in sorted(changes, key=lambda each: each.kind == "head-resized"):
        if one.kind not in _RESIZED:
            continue
        names = ours.get(one.old[0] if one.old else "", frozenset()), theirs.get(one.new[0], frozenset())
        if not any(names) or _are_several(names[1], old, ours) or _are_several(names[0], new, theirs):
            continue
        if _is_a_matrix(one) and (one.kind == "head-resized" or _of_tokens(one, names[1], changes, new)):
            rows = one.old_specs[0].shape[0], one.new_specs[0].shape[0]
            told |= {id(each): _told(each, one, rows) for each in changes if _belongs(each, one, names)}
        else:
            absent = (each for each in changes if each.kind == "missing" and each.new[0] in names[1])
            told |= {id(each): _missing(each, one) for each in absent}
    return [told.get(id(each), each) for each in changes]


def _of_tokens(change: Change, names: frozenset[str], changes: Sequence[Change], new: Structure) -> bool:
    """Whether a change is of an embedding that got other rows, and is tied to what the file lacks."""
    lacking = any(each.kind == "missing" and each.new[0] in names for each in changes)
    return lacking and only_rows(change) and embeds(change, new)


def _belongs(change: Change, head: Change, names: tuple[frozenset[str], frozenset[str]]) -> bool:
    if change.kind in _RESIZED:
        tensor = (bool(change.old) and change.old[0] in names[0]) or change.new[0] in names[1]
        modules = {_module(key) for key in (head.new[0], *names[1])}
        bias = change.kind == "head-resized" and _module(change.new[0]) in modules
        return change is head or tensor or bias
    if change.kind == "missing":
        return change.new[0] in names[1]
    return change.kind == "unexpected" and change.old[0] in names[0]


def _are_several(names: frozenset[str], structure: Structure, groups: Mapping[str, frozenset[str]]) -> bool:
    """Whether names of one tensor are names of several on the other side."""
    there = [key for key in names if key in structure.tensors]
    return len({groups.get(key, frozenset({key})) for key in there}) > 1


def _told(change: Change, head: Change, rows: tuple[int, int]) -> Change:
    before, after = rows
    if change.kind == "missing":
        return _missing(change, head)
    if change.kind == "unexpected":
        advice = f"it is one tensor with {head.old[0]}: what is done with that is done with both"
        return replace(change, detail=TIED + head.old[0], advice=advice)
    advice = f"resize it from {before} rows after the load, or copy the rows while loading (migrate=)"
    return replace(change, kind="resized", detail=f"one tied tensor, rows {before} -> {after}", advice=advice)


def _missing(change: Change, there: Change) -> Change:
    advice = f"it is one tensor with {there.new[0]}: what gives that its values gives them to both"
    return replace(change, detail=TIED + there.new[0], advice=advice)


def _groups(structure: Structure) -> Mapping[str, frozenset[str]]:
    """Key -> all keys of its tensor, where it has several."""
    groups = map(frozenset, structure.aliases)
    return {key: group for group in groups for key in group}


def _is_a_matrix(change: Change) -> bool:
    return len(change.old_specs[0].shape) == len(change.new_specs[0].shape) == 2


def _module(key: str) -> str:
    return key.rpartition(".")[0]
