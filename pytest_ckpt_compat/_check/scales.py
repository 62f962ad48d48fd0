"""Scales beside weights of fewer bits: without them, the weights are other numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.dtypes import DEQUANTIZE
from pytest_ckpt_compat._core.structure import Structure

#: ``weight_scale_inv``, ``scale_weight``, ``input_scale``, ``scales``, ``weight_zero_point``.
_SCALE = re.compile(r"(^|_)(scales?|zero_points?)(_|$)")
_DTYPES = ("float8", "int8", "uint8", "float4")


def with_scales(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; those of scales that the definition lacks, and of their weights, say what they are.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    found = {scale: key for scale, key in _scales(old).items() if scale not in new.tensors}
    if not found:
        return changes
    weights = set(found.values())
    return [_told(each, found, weights, old) for each in changes]


def _told(change: Change, scales: Mapping[str, str], weights: set[str], old: Structure) -> Change:
    if change.kind == "unexpected" and not change.advice and change.old[0] in scales:
        dtype = old.tensors[scales[change.old[0]]].dtype
        return replace(change, detail=f"says how {dtype} weights are to be read", advice=DEQUANTIZE)
    if change.kind == "retyped" and weights.issuperset(change.old):
        return replace(change, detail="leaves the scale out", advice=DEQUANTIZE)
    return change


def _scales(old: Structure) -> dict[str, str]:
    """Key of a scale -> key of the weight of few bits that it belongs to."""
    found = {}
    for key in old.tensors:
        owner, dot, name = key.rpartition(".")
        if scale := _SCALE.search(name):
            own = owner + dot + name[: scale.start()]  # ``up_weight`` of ``up_weight_scale``
            weight = next(
                (each for each in (own, owner, f"{owner}{dot}weight") if _is_small(each, old)), None
            )
            if weight is not None:
                found[key] = weight
    return found


def _is_small(key: str, old: Structure) -> bool:
    return key in old.tensors and old.tensors[key].dtype.startswith(_DTYPES)
