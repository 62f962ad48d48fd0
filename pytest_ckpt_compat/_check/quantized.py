"""Weights that one side keeps in a quantized form and the other in floating point: told as that, by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core import storages
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import Structure

_RESIZED: frozenset[Kind] = frozenset({"resized", "head-resized"})
_OF_KEYS: frozenset[Kind] = frozenset({"missing", "unexpected", *_RESIZED})
#: Kinds of changes of which some may be told as that.
_TOLD: frozenset[Kind] = _OF_KEYS | {"load-raises"}
#: Names by which a layer keeps its weight, or what stands in its place.
_WEIGHTS = ("_packed_params", "_all_weight_values", "weight", "qweight", "SCB")
#: What a quantized module has that holds no weight, as at the entrance of a model.
_NUMBERS = frozenset({"scale", "zero_point"})
_IN_FILE = "load it with the quantization it was saved with, or save the dequantized model"
_HERE = "load it into the float model, and quantize that after the load, as quantize_dynamic or convert does"


def with_quantization(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; where one side alone is quantized, those of its layers that are say so.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    if not any(each.kind in _TOLD for each in changes):
        return changes
    ours, theirs = _layers(old), _layers(new)
    if bool(ours) == bool(theirs):
        return changes
    layers, side, advice = (ours, old, _IN_FILE) if ours else (theirs, new, _HERE)
    words = " and ".join(dict.fromkeys(word for word in layers.values() if word))
    words = words if ours else f"{words} here, float in the file"
    return [
        replace(each, advice=advice)
        if each.kind == "load-raises" and _is_of(each.detail, layers, side)
        else replace(each, kind=_plain(each.kind), detail=words, advice=advice)
        if each.kind in _OF_KEYS and not layers.keys().isdisjoint(map(_layer, (*each.old, *each.new)))
        else each
        for each in changes
    ]


def _layers(side: Structure) -> dict[str, str]:
    """The layers whose weights are quantized -> the form in words; "" for what has no weight."""
    found = {_layer(key): words for key, words in storages.quantized_among(side.tensors).items()}
    quantized = set(filter(storages.is_quantized, {spec.dtype for spec in side.tensors.values()}))
    by_dtype = {_layer(key) for key, spec in side.tensors.items() if spec.dtype in quantized}
    found |= dict.fromkeys(by_dtype - found.keys(), "" if found else "quantized weights")
    if not found:
        return {}
    names: dict[str, set[str]] = {}
    for key in side.tensors:
        names.setdefault(_layer(key), set()).add(key.rpartition(".")[2])
    return found | {layer: "" for layer, held in names.items() if layer not in found and held <= _NUMBERS}


def _layer(key: str) -> str:
    """The layer of a weight, or of what a quantized form keeps beside it."""
    for name in _WEIGHTS:
        head, found, _ = f".{key}.".partition(f".{name}.")
        if found:
            return head
    return f".{key}".rpartition(".")[0]


def _plain(kind: Kind) -> Kind:
    return "resized" if kind in _RESIZED else kind


def _is_of(error: str, layers: Mapping[str, str], side: Structure) -> bool:
    """Whether an error of a load is about a quantized layer."""
    keys = (key for key in side.tensors if _layer(key) in layers)
    return "quantized" in error or any(f"'{key}'" in error or f'"{key}"' in error for key in keys)
