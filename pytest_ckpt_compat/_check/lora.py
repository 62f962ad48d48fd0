"""What helps with LoRA's weights that peft does not read, that are alone, or that the checkpoint lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.adapters import adapted
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Structure

#: loralib keeps both factors in the layer itself; scripts for diffusion models name them down and up.
_LORALIB = re.compile(r"\.lora_(A|B)$")
_KOHYA = re.compile(r"\.lora_(down|up)\.weight$")
_FACTOR = re.compile(r"\.lora_(A|B|down|up)(\.|$)")
_SCALE = re.compile(r"(^|\.)alpha$")
_MERGE = "add lora_B @ lora_A, times alpha / r, to each weight while loading (migrate=)"


def of_lora(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; those about LoRA's weights on one side with the advice that fits their form.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    theirs, ours = adapted(old.tensors), adapted(new.tensors)
    if theirs == ours:
        return changes
    if ours:
        return [_into_adapted(each) for each in changes]
    advice = _form(old)
    alone = all(_FACTOR.search(key) or _SCALE.search(key) for key in old.tensors)
    if alone:
        advice = f"the file is an adapter alone: load the base model first, and then {advice or _WITH_PEFT}"
    return [_told(each, alone, advice) for each in changes]


_WITH_PEFT = "load the adapter with peft (register the base as model, and the directory that peft saved)"


def _form(old: Structure) -> str:
    """What helps with an adapter that peft does not read; "" for peft's own."""
    if any(map(_LORALIB.search, old.tensors)):
        return f"{_MERGE}, or save the state_dict after model.eval(), in which loralib merges them"
    if any(map(_KOHYA.search, old.tensors)):
        return "add lora_up @ lora_down, times alpha / r, to each weight while loading (migrate=)"
    return ""


def _told(change: Change, alone: bool, advice: str) -> Change:
    if change.kind == "unexpected" and _SCALE.search(change.old[0]) and not change.advice:
        return replace(change, detail="scales the adapter", advice=advice)
    if change.kind == "unmerged" and advice:
        return replace(change, advice=advice)
    if change.kind == "missing" and alone and not change.advice:
        return replace(change, detail="of the base model, which an adapter does not hold", advice=advice)
    return change


def _into_adapted(change: Change) -> Change:
    if change.kind == "missing" and not change.advice and _FACTOR.search(change.new[0]):
        advice = "load the base without it (strict=False), or add the adapter after it: it starts as built"
        return replace(change, detail="of an adapter that the checkpoint has not", advice=advice)
    return change
