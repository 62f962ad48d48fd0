"""Says why tensors differ where both sides show it, and what helps then: the advice of a kind may harm."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pytest_ckpt_compat._check.copies import of_copies
from pytest_ckpt_compat._check.facts import EXTRA
from pytest_ckpt_compat._check.former import former_layers
from pytest_ckpt_compat._check.fused import INTO, with_fused
from pytest_ckpt_compat._check.layer_sizes import other_sizes
from pytest_ckpt_compat._check.leftovers import bookkeeping, held_twice, under_one_prefix
from pytest_ckpt_compat._check.lora import of_lora
from pytest_ckpt_compat._check.norms import without_statistics
from pytest_ckpt_compat._check.positions import other_positions
from pytest_ckpt_compat._check.quantized import with_quantization
from pytest_ckpt_compat._check.scales import with_scales
from pytest_ckpt_compat._check.sizes import vocabulary
from pytest_ckpt_compat._check.tied import with_sources
from pytest_ckpt_compat._check.tied_heads import with_tied_heads
from pytest_ckpt_compat._check.wrapped import AVERAGED
from pytest_ckpt_compat._core import storages
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.heads import WORD
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._renames.units.parametrized import parametrized

#: Words that name an embedding of positions.
_POSITIONS = frozenset({"pos", "position", "positions", "positional", "wpe"})
_RESIZED: frozenset[Kind] = frozenset({"resized", "head-resized"})
#: What helps where the parts of a weight have no place.
_PARTS = (
    "compute the weight of its parts and give the layer that took its place all that this one has, while "
    "loading (migrate=): to drop them is to lose what was trained"
)
_Step = Callable[[Sequence[Change], Structure, Structure], Sequence[Change]]


def with_causes(changes: Sequence[Change], old: Structure, new: Structure) -> tuple[Change, ...]:
    """The changes; those whose cause is plain with a clause that names it, and the advice that fits.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    steps = _STEPS if any(each.kind != "retyped" for each in changes) else _OF_CASTS
    for step in steps if changes else ():
        changes = step(changes, old, new)
    return tuple(changes)


def _heads(changes: Sequence[Change], _old: Structure, _new: Structure) -> Sequence[Change]:
    """A head is resized only where its other sizes fit: else it is another layer."""
    others = {_module(key) for each in changes if each.kind == "resized" for key in each.new}
    return [
        replace(each, kind="resized", detail="")
        if each.kind == "head-resized" and others.intersection(map(_module, each.new))
        else each
        for each in changes
    ]


def _module(key: str) -> str:
    return key.rpartition(".")[0].partition(".parametrizations.")[0]


def _empty(changes: Sequence[Change], _old: Structure, _new: Structure) -> Sequence[Change]:
    advice = "give it the checkpoint's size before the load, in a load_state_dict pre-hook"
    return [
        replace(each, kind="resized", detail="starts empty here, and gets its size in use", advice=advice)
        if each.kind in _RESIZED and not each.new_specs[0].numel and each.old_specs[0].numel
        else each
        for each in changes
    ]


_EXTRA_STATE: Mapping[str, str] = {
    "vanished": "drop the key while loading (migrate=), or keep set_extra_state for old checkpoints",
    "appeared": "give old checkpoints a default under this key while loading (migrate=)",
}


def _extra_state(changes: Sequence[Change], _old: Structure, _new: Structure) -> Sequence[Change]:
    """Which way an extra state went, and whether the checkpoint has its content under keys of their own."""
    moved = {
        each.old[0].rpartition(".")[0]: each.advice
        for each in changes
        if each.kind == "unexpected" and each.detail == EXTRA
    }
    return [
        replace(each, advice=(each.new and moved.get(_owner(each.new[0]))) or _EXTRA_STATE[each.detail])
        if each.kind == "extra-state" and each.detail in _EXTRA_STATE
        else each
        for each in changes
    ]


def _owner(key: str) -> str:
    return key.rpartition(".")[0]


#: What a key of a reparametrized weight ends with -> what helps from there to a plain one.
_PLAIN: Mapping[str, str] = {
    "weight_mask": "multiply weight_orig by weight_mask (migrate=), or call prune.remove and save again",
    "weight_u": "divide weight_orig by u . (W v), with the file's weight_u and weight_v (migrate=), not by "
    "its exact spectral norm; or remove_spectral_norm after the load",
    "parametrizations.weight.0._u": "divide the original by u . (W v), with the file's _u and _v (migrate=), "
    "not by its exact spectral norm; or load it into layers that have the parametrization, call eval(), and "
    "then torch.nn.utils.parametrize.remove_parametrizations",
    "weight_g": "compute weight from weight_g and weight_v (migrate=), or remove_weight_norm after the load",
}
#: The same from a plain weight: what a key of its new form ends with -> what helps, where that changes it.
_CHANGED: Mapping[str, str] = {
    r"_u": "load the plain weight first and put spectral_norm on after it, if it is to be trained on: "
    "outputs change, since the weight is divided by its spectral norm; else keep the layer plain",
    r"\.parametrizations\.\w+\.\d+\.base": "load the plain weight first and put the parametrization on "
    "after it, if it is to be trained on: outputs change, since only an orthogonal weight remains; else keep "
    "the layer plain",
}
_TORCHS_OWN = "call torch.nn.utils.parametrize.remove_parametrizations"


def _parametrized(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """What is stored in other terms, and the parts of a weight of which nothing says where it went."""
    parts = {key for key in old.tensors if key not in new.tensors and _is_stored(key)}
    parts &= parametrized(old.tensors).keys() if parts else set()
    layers = set(map(_module, parts))
    told = [
        replace(each, advice=_to_plain(each)) if each.kind == "reparametrized" else each for each in changes
    ]
    lost = [each for each in told if each.kind == "unexpected" and not each.advice]
    if not any(parts.issuperset(each.old) for each in lost):
        return told
    part = "a part of a weight that is stored under a parametrization"
    return [
        replace(each, detail=part if parts.issuperset(each.old) else each.detail, advice=_PARTS)
        if each in lost and _module(each.old[0]) in layers
        else each
        for each in told
    ]


def _to_plain(change: Change) -> str:
    """What helps between a weight in other terms and a plain one; "" between two such forms."""
    stored = [[key for key in keys if _is_stored(key)] for keys in (change.old, change.new)]
    if stored[0] and not stored[1]:
        known = (advice for end, advice in _PLAIN.items() if any(key.endswith(end) for key in change.old))
        later = "load it into layers that have the parametrization, and then"
        return next(known, f"{later} {_TORCHS_OWN}: a rename alone gives other numbers")
    if stored[1] and not stored[0]:
        for end, advice in _CHANGED.items():
            if any(re.search(f"{end}$", f".{key}") for key in stored[1]):
                return advice
        return "load the plain weight first, and apply the parametrization after it, or convert it (migrate=)"
    return ""


def _is_stored(key: str) -> bool:
    ends = ("_orig", "_mask", "_g", "_u", "_v")
    return ".parametrizations." in f".{key}" or key.endswith(ends)


def _flat(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """FSDP's flat parameters, for a model that has none of them."""
    flat = [key for key in old.tensors if storages.is_flat(key)]
    if flat and not any(map(storages.is_flat, new.tensors)):
        advice = (
            "save the full state_dict where it was trained (full_state_dict=True): this is a part, flattened"
        )
        return [
            replace(each, detail=each.detail or _flat_detail(each), advice=advice)
            if each.kind in ("missing", "unexpected")
            else each
            for each in changes
        ]
    return changes


def _flat_detail(change: Change) -> str:
    return "a flat parameter of FSDP" if any(map(storages.is_flat, change.old)) else ""


def _sizes(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """A vocabulary that grew, a size that changed everywhere, positions of an embedding."""
    resized = [each for each in changes if each.kind in _RESIZED and not each.advice]
    found: dict[int, Change] = {}
    grew = vocabulary(resized, old, new)
    if grew is not None:
        found |= {id(each): replace(each, kind="resized", detail=grew.detail) for each in grew.changes}
        advice = (
            f"resize it from {grew.before} rows after the load, or copy the rows while loading (migrate=)"
        )
        found = {key: replace(each, advice=advice) for key, each in found.items()}
    rest = [each for each in resized if id(each) not in found]
    for each in rest:
        if _is_position(each):
            before, after = (specs[0].shape for specs in (each.old_specs, each.new_specs))
            ours, theirs = next((a, b) for a, b in zip(before, after, strict=True) if a != b)
            advice = other_positions(ours, theirs)
            found[id(each)] = replace(each, detail=f"positions {ours} -> {theirs}", advice=advice)
    return [found.get(id(each), each) for each in changes]


def _is_position(change: Change) -> bool:
    """Whether the number of positions in an embedding of positions, and nothing else, differs."""
    ends = change.new[0].split(".")[-2:]
    named = _POSITIONS.intersection(word.lower() for each in ends for word in WORD.findall(each))
    before, after = change.old_specs[0].shape, change.new_specs[0].shape
    differ = [a != b for a, b in zip(before, after, strict=False)]
    return bool(named) and len(before) == len(after) >= 2 and sum(differ) == 1 and not differ[-1]


def _statistics(changes: Sequence[Change], _old: Structure, new: Structure) -> Sequence[Change]:
    """Running statistics of a layer that has become another one, into which its weight still fits."""
    return [
        replace(each, detail=told[0], advice=told[1])
        if each.kind == "unexpected" and each.detail != INTO and (told := _of_norm(each.old[0], new))
        else each
        for each in changes
    ]


def _of_norm(key: str, new: Structure) -> tuple[str, str] | None:
    module, _, name = key.rpartition(".")
    kind = new.modules.get(module)
    if name not in ("running_mean", "running_var", "num_batches_tracked") or kind is None:
        return None
    short = kind.rpartition(".")[2]
    if f"{module}.running_mean" in new.tensors:
        return (
            f"a counter that the {short} does not have",
            "drop the key while loading (migrate=): outputs do not depend on it",
        )
    if "BatchNorm" in short or "InstanceNorm" in short:
        return (
            f"the {short} keeps no statistics here",
            "keep them (track_running_stats=True), or drop them while loading (migrate=) if batches decide",
        )
    if f"{module}.weight" not in new.tensors:
        return None
    return (
        f"of a layer that is a {short} now",
        "put the old layer back: its weight and bias fit the new one, which computes something else",
    )


def _averaged(changes: Sequence[Change], _old: Structure, _new: Structure) -> Sequence[Change]:
    """The counter of AveragedModel."""
    drop = "drop the key while loading (migrate=): it counts how many were averaged"
    return [
        replace(each, detail="a counter of AveragedModel", advice=drop)
        if each.kind == "unexpected" and each.old[0] == AVERAGED
        else each
        for each in changes
    ]


def _stacked(changes: Sequence[Change], _old: Structure, _new: Structure) -> Sequence[Change]:
    """What became one tensor by a dimension of its own, as experts do: joined end to end, it does not fit."""
    return [
        replace(each, advice="stack them while loading (migrate=)")
        if each.kind == "fused" and len(each.new_specs[0].shape) > len(each.old_specs[0].shape)
        else replace(each, advice="take it apart along its first dimension while loading (migrate=)")
        if each.kind == "split" and len(each.old_specs[0].shape) > len(each.new_specs[0].shape)
        else each
        for each in changes
    ]


def _nothing_alike(changes: Sequence[Change], old: Structure, _new: Structure) -> Sequence[Change]:
    """A checkpoint of which not one tensor has a place in the definition."""
    lost = {key for each in changes if each.kind == "unexpected" for key in each.old}
    if not lost or lost != set(old.tensors) or any(each.advice for each in changes):
        return changes
    advice = (
        "no tensor of the checkpoint has a place in the definition: see that path and model belong together"
    )
    absent = ("missing", "unexpected")
    return [replace(each, advice=advice) if each.kind in absent else each for each in changes]


_STEPS: tuple[_Step, ...] = (
    *(_heads, _empty, _extra_state, held_twice, of_copies, under_one_prefix, with_tied_heads),
    *(with_sources, with_scales),
    *(
        _parametrized,
        _flat,
        with_quantization,
        with_fused,
        bookkeeping,
        _stacked,
        former_layers,
        other_sizes,
        _sizes,
    ),
    *(_statistics, _averaged, without_statistics, of_lora, _nothing_alike),
)
#: The steps that say something of casts, which a load in another dtype has by the thousand.
_OF_CASTS: tuple[_Step, ...] = (with_scales,)
