"""Tensors that are left over and are no layer that was removed, and the rest of a file beside the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pytest_ckpt_compat._check.compare import fits
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Structure

_OBSERVER = re.compile(r"(^|\.)(weight_fake_quant|activation_post_process)\.")
#: What fairseq saves beside the weights, of one number each.
_FAIRSEQ = re.compile(r"(^|\.)(version|_float_tensor)$")


def under_one_prefix(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; where the whole definition is in the file under one prefix, beside something else, so.

    The loss that a LightningModule holds has weights, too: they are no reason to doubt the model's.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    moved = [each for each in changes if each.kind == "renamed"]
    pairs = [(each.old[0], each.new[0]) for each in moved if len(each.old) == len(each.new) == 1]
    found = {one.removesuffix(other) for one, other in pairs if one.endswith(f".{other}")}
    prefix = found.pop() if len(found) == 1 and len(pairs) == len(moved) > 1 else ""
    whole = all(
        f"{prefix}{key}" in old.tensors and fits(old.tensors[f"{prefix}{key}"], spec)
        for key, spec in new.tensors.items()
    )
    inside = all(one == f"{prefix}{other}" for one, other in pairs)
    outside = [key for key in old.tensors if not key.startswith(prefix)]
    told = any(each.advice or each.confidence == "ambiguous" for each in moved)
    if (
        not prefix
        or told
        or not (whole and inside and outside)
        or not old.tensors.keys().isdisjoint(new.tensors)
    ):
        return changes
    first = f'register it with strip_prefix="{prefix}", if the program loads it so'
    advice = f'{first}, or take "{prefix}" off while loading (migrate=)'
    evidence = (f"every tensor of the definition is under {prefix}",)
    return [
        replace(each, confidence="certain", evidence=evidence, advice=advice)
        if each.kind == "renamed"
        else each
        for each in changes
    ]


def held_twice(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; what is left over and is one tensor with one that loads, with this."""
    lost = {key for each in changes if each.kind == "unexpected" for key in each.old}
    if not lost:
        return changes
    twins = {
        key: twin
        for group in old.aliases
        for key in lost.intersection(group)
        if (twin := next((each for each in group if each not in lost and each in new.tensors), None))
    }
    places = {key: _place(key, twin) for key, twin in twins.items()}
    many = Counter(places.values())
    named = {key: f"{places[key]}.*" if many[places[key]] > 1 else twin for key, twin in twins.items()}
    advice = "drop the key while loading (migrate=): the file holds this tensor under a name that loads, too"
    return [
        replace(each, detail=f"one and the same as {named[each.old[0]]}: safe to drop", advice=advice)
        if each.kind == "unexpected" and not each.advice and each.old[0] in named
        else each
        for each in changes
    ]


def _place(key: str, twin: str) -> str:
    """The module of a tensor below which its twin has the same path: ``encoder`` of two encoders."""
    ours, theirs = key.split("."), twin.split(".")
    while len(theirs) > 1 and len(ours) > 1 and ours[-1] == theirs[-1]:
        ours, theirs = ours[:-1], theirs[:-1]
    return ".".join(theirs)


def bookkeeping(changes: Sequence[Change], old: Structure, _new: Structure) -> Sequence[Change]:
    """The changes; observers of quantization-aware training and fairseq's markers, with what they are."""
    fairseq = any(key.rpartition(".")[2] == "_float_tensor" for key in old.tensors)
    return [each if each.kind != "unexpected" or each.advice else _named(each, fairseq) for each in changes]


def _named(change: Change, fairseq: bool) -> Change:
    key = change.old[0]
    if _OBSERVER.search(key):
        advice = (
            "prepare the model as it was trained (prepare_qat) before the load, or drop these keys while "
            "loading (migrate=): the weights are the float ones"
        )
        return replace(change, detail="of quantization-aware training", advice=advice)
    if fairseq and _FAIRSEQ.search(key) and [each.shape for each in change.old_specs] == [(1,)]:
        advice = "drop the key while loading (migrate=): outputs do not depend on it"
        return replace(change, detail="a marker of fairseq's, no weight", advice=advice)
    return change
