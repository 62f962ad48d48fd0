"""Layers that were of another class: their tensors look like those of another size, or permuted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.class_names import simple
from pytest_ckpt_compat._core.structure import Structure

_OF_SHAPES: frozenset[Kind] = frozenset({"resized", "head-resized", "transposed"})
#: Classes of torch's of which one cannot use the numbers of another one in the same group.
_FAMILIES = (
    re.compile(r"(?:Lazy)?(ConvTranspose|Conv)[123]d"),
    re.compile(r"(LSTM|GRU|RNN)(?:Cell)?"),
)
_RECURRENT = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l\d+(?P<reverse>_reverse)?)?")
#: What is said of the tensors of a second direction that one side has.
_MORE, _LESS = "bidirectional here, in the file not", "bidirectional in the file, here not"
#: Rows of a recurrent layer's weight for each hidden value -> the layer.
_GATES: Mapping[int, str] = {4: "LSTM", 3: "GRU", 1: "RNN"}


def former_layers(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; of layers that were of another class, or of one direction, with this.

    Args:
        changes: what a load found, explained.
        old: the checkpoint, with the classes of its modules where a recorded definition has them.
        new: the definition.
    """
    told = [_of_class(each, old, new) or _of_direction(each, old, new) or each for each in changes]
    hidden = {size for each in told if (size := _hidden(each, old))}
    return [_of_both(each, hidden, told) or each for each in told] if hidden else told


def is_in_one_recurrent_layer(change: Change) -> bool:
    """Whether a change pairs two tensors of one recurrent layer, whose names say what each of them is."""
    if not (change.old and change.new) or change.old == change.new:
        return False
    names = [key.rpartition(".") for key in (*change.old, *change.new)]
    same = len({name.removesuffix("_l0") for _, _, name in names}) == 1  # of a cell, and of a first layer
    return (
        not same
        and len({module for module, _, _ in names}) == 1
        and all(_RECURRENT.fullmatch(name) for _, _, name in names)
    )


def _of_class(change: Change, old: Structure, new: Structure) -> Change | None:
    if change.kind not in _OF_SHAPES or change.advice or not change.old:
        return None
    module, here = change.old[0].rpartition(".")[0], change.new[0].rpartition(".")[0]
    before, after = _class(module, old), _class(here, new)
    if not (before and after) and _RECURRENT.fullmatch(change.new[0].rpartition(".")[2]):
        before, after = _by_gates(module, old), _by_gates(here, new)
    if not before or not after or not _is_other(before, after):
        return None
    if before.startswith("Conv"):
        if _is_pointwise(change, old, new):
            return None  # the one is the other, permuted
        why = f"{_an(after)} computes something else with its weights"
    else:
        why = "no size makes one of the other"
    advice = f"put {_an(before)} back: {why}"
    return replace(
        change, kind="resized", detail=f"{_an(before)} in the file, {_an(after)} here", advice=advice
    )


def _class(module: str, side: Structure) -> str:
    kind = side.modules.get(module, "")
    return simple(kind) if kind.startswith("torch.nn.") else ""


def _is_other(before: str, after: str) -> bool:
    for family in _FAMILIES:
        ours, theirs = family.fullmatch(before), family.fullmatch(after)
        if ours and theirs:
            return ours[1] != theirs[1]
    return False


def _is_pointwise(change: Change, old: Structure, new: Structure) -> bool:
    """Whether a convolution is a matrix for each place: a kernel of 1, a stride of 1, and one group."""
    sides = ((change.old[0], old), (change.new[0], new))
    settings = [side.settings.get(key.rpartition(".")[0]) or {} for key, side in sides]
    kernel = change.new_specs[0].shape[2:]
    plain = all(set(re.findall(r"\d+", each.get("stride", ""))) == {"1"} for each in settings)
    return set(kernel) == {1} and plain and all(each.get("groups") == "1" for each in settings)


def _by_gates(module: str, side: Structure) -> str:
    """The class of a recurrent layer, by how many gates it has for each hidden value."""
    for name in ("weight_hh_l0", "weight_hh"):
        spec = side.tensors.get(f"{module}.{name}".lstrip("."))
        if spec is not None and len(spec.shape) == 2 and spec.shape[1]:
            rows, hidden = spec.shape
            return _GATES.get(rows // hidden, "") if rows % hidden == 0 else ""
    return ""


def _an(kind: str) -> str:
    return f"{'an' if kind[0] in 'LR' and kind[:2].isupper() else 'a'} {kind}"


def _of_direction(change: Change, old: Structure, new: Structure) -> Change | None:
    """What one direction more or less leaves over: the other one was trained beside it."""
    if change.kind not in ("missing", "unexpected") or change.advice:
        return None
    key = (change.new or change.old)[0]
    found = _RECURRENT.fullmatch(key.rpartition(".")[2])
    forward = key.removesuffix("_reverse")
    if found is None or not found["reverse"] or not (forward in old.tensors and forward in new.tensors):
        return None
    if change.kind == "missing":
        advice = (
            "build it with bidirectional=False, as the file has it: no default stands for a trained direction"
        )
        return replace(change, detail=_MORE, advice=advice)
    advice = "build it with bidirectional=True, as the file has it: both directions were trained together"
    return replace(change, detail=_LESS, advice=advice)


def _hidden(change: Change, old: Structure) -> int:
    """The size of what one direction gives, where a change is about the other one; else 0."""
    if change.detail not in (_MORE, _LESS):
        return 0
    module = (change.new or change.old)[0].rpartition(".")[0]
    spec = old.tensors.get(f"{module}.weight_hh_l0".lstrip("."))
    return spec.shape[1] if spec is not None and len(spec.shape) == 2 else 0


def _of_both(change: Change, hidden: set[int], told: Sequence[Change]) -> Change | None:
    """A tensor that takes in what both directions give on one side, and what one gives on the other."""
    if change.kind not in ("resized", "head-resized") or change.advice:
        return None
    before, after = change.old_specs[0].shape, change.new_specs[0].shape
    if len(before) != len(after):
        return None
    differ = {(a, b) for a, b in zip(before, after, strict=True) if a != b}
    for detail, pairs in ((_MORE, {(n, 2 * n) for n in hidden}), (_LESS, {(2 * n, n) for n in hidden})):
        cause = next((each for each in told if each.detail == detail), None)
        if cause is not None and differ <= pairs:
            here = "both directions here, of one in the file"
            there = "one direction here, of both in the file"
            words = f"takes in the outputs of {here if detail == _MORE else there}"
            return replace(change, kind="resized", detail=words, advice=cause.advice)
    return None
