"""Says what became of normalising layers whose statistics one side lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Structure

_STATISTICS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"
_PARTS = ("weight", "bias", *_STATISTICS, _COUNTER)
_FOLD = (
    "fold the BatchNorm into the layer before it while loading (migrate=), "
    "as torch.nn.utils.fusion.fuse_conv_bn_weights does"
)


def without_statistics(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; those of statistics that the checkpoint lacks, of counters, and of folded layers say so.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    folded = _folded(changes, old, new)
    return [each if each.advice else _told(each, folded, old, new) for each in changes]


def _told(change: Change, folded: dict[str, str], old: Structure, new: Structure) -> Change:
    if change.kind == "unexpected" and (layer := folded.get(_module(change.old[0]))) is not None:
        return replace(change, detail=f"a BatchNorm, folded into {layer} here", advice=_FOLD)
    if change.kind != "missing":
        return change
    key = change.new[0]
    module, name = _module(key), key.rpartition(".")[2]
    if name == "bias" and module in folded.values():
        return replace(change, detail="of a folded BatchNorm", advice=_FOLD)
    short = new.modules.get(module, "").rpartition(".")[2]
    if name in (*_STATISTICS, _COUNTER):
        has_statistics = f"{module}.running_mean" in old.tensors
        if has_statistics or f"{module}.weight" in old.tensors:
            return _of_norm(change, name, short, has_statistics)
    return change


def _of_norm(change: Change, name: str, short: str, has_statistics: bool) -> Change:
    """A missing statistic of a layer of which the checkpoint has the rest."""
    if has_statistics and name == _COUNTER:
        advice = "give it 0 while loading (migrate=): it only counts, and outputs do not depend on it"
        return replace(change, detail="a counter", advice=advice)
    if has_statistics or "Norm" not in short:
        return change
    detail = f"the checkpoint's layer has no statistics: it was no {short}, or one without them"
    advice = (
        f"put the old layer back (as a GroupNorm), or track_running_stats=False: a {short} with other "
        "statistics computes something else with the same weight and bias"
    )
    return replace(change, detail=detail, advice=advice)


def _folded(changes: Sequence[Change], old: Structure, new: Structure) -> dict[str, str]:
    """BatchNorm of the checkpoint -> the layer of the definition that it was folded into.

    That layer has a bias now, and its weight stands right before the BatchNorm, which has as many channels.
    """
    lost = {key for each in changes if each.kind == "unexpected" for key in each.old}
    gained = {key for each in changes if each.kind == "missing" for key in each.new}
    order = list(dict.fromkeys(map(_module, old.tensors)))
    found = {}
    for layer, norm in pairwise(order):
        mean = old.tensors.get(f"{norm}.running_mean")
        weight = old.tensors.get(f"{layer}.weight")
        if mean is None or weight is None or f"{layer}.bias" not in gained or len(weight.shape) < 2:
            continue
        own = {key for key in (f"{norm}.{part}" for part in _PARTS) if key in old.tensors}
        if own <= lost and weight.shape[0] == mean.numel and f"{layer}.weight" in new.tensors:
            found[norm] = layer
    return found


def _module(key: str) -> str:
    return key.rpartition(".")[0]
