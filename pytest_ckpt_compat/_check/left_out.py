"""Tells what a load that raises nothing leaves of a checkpoint, or loses again before it is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import OBJECT, Structure
from pytest_ckpt_compat._definition.observation import Outcome

#: How the detail of a tensor begins that loading code did not hand on.
_LEFT = "left as built: the checkpoint"


def of(key: str, old: Structure, new: Structure) -> Change:
    """The change for a key that both sides have, and that loading code took out before torch's load."""
    before, after = old.tensors[key], new.tensors[key]
    fits = compare.fits(before, after)
    detail = f"{_LEFT}'s is taken out before the load" if fits else f"{_LEFT}'s has another size"
    return Change("partial-load", (key,), (key,), (before,), (after,), detail=detail)


def unexpected(old: Structure, new: Structure, outcome: Outcome) -> Iterator[Change]:
    """The keys that loading code took out, where the definition lacks others: they may be the same."""
    if outcome.raised or not any(key not in old.tensors for key in outcome.missing):
        return
    told = set(outcome.unexpected)
    for key in outcome.left_out:
        if key in old.tensors and key not in new.tensors and key not in told:
            yield compare.unexpected(key, old)


def lost(new: Structure, outcome: Outcome) -> Iterator[Change]:
    """The tensors that got the checkpoint's values and did not keep them."""
    for key, each in outcome.lost.items():
        if key not in new.tensors or new.tensors[key].dtype == OBJECT:
            continue
        spec = (new.tensors[key],)
        if each.tied_to:
            detail = f"tied after the load, which loses the checkpoint's {key}"
            yield Change("retied", old=(each.tied_to, key), new=(each.tied_to, key), detail=detail)
        elif each.replaced:
            detail = "loaded, and then replaced by another tensor"
            yield Change("partial-load", new=(key,), new_specs=spec, detail=detail)
        else:
            detail = "loaded, and then overwritten with other values"
            yield Change("partial-load", new=(key,), new_specs=spec, detail=detail)


def restated(changes: Sequence[Change], outcome: Outcome) -> Sequence[Change]:
    """The changes, explained; those of keys that loading code left out as what the load leaves as built."""
    if outcome.raised or not outcome.left_out:
        return changes
    known = set(outcome.left_out)
    return [
        replace(each, kind="partial-load", detail=f"{_LEFT} has {_there(each)}")
        if each.kind == "renamed" and known.issuperset(each.old)
        else each
        for each in changes
    ]


def _there(change: Change) -> str:
    return change.group.partition(" -> ")[0] or change.old[0]
