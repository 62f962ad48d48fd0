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
    into = folded(changes, old, new)
    return [each if each.advice else _told(each, into, old, new) for each in changes]


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


def folded(changes: Sequence[Change], old: Structure, new: Structure) -> dict[str, str]:
    """BatchNorm of the checkpoint -> the layer of the definition that it was folded into.

    That layer has a bias now, and as many outputs as the BatchNorm has channels. Where there are as many of
    the one as of the other, they follow each other in one order; else the layer stands right before its own.
    """
    lost = {key for each in changes if each.kind == "unexpected" for key in each.old}
    gained = {key for each in changes if each.kind == "missing" for key in each.new}
    order = list(dict.fromkeys(map(_module, old.tensors)))
    norms = [each for each in order if _is_lost(each, lost, old)]
    layers = [each for each in order if _has_bias_now(each, gained, old, new)]
    if len(norms) == len(layers) and all(_fits(*pair, old) for pair in zip(layers, norms, strict=True)):
        return dict(zip(norms, layers, strict=True))
    after = dict(pairwise(order))
    return {
        norm: layer
        for layer, norm in pairwise(order)
        if layer in layers and norm in norms and after.get(norm) not in norms and _fits(layer, norm, old)
    }


def _is_lost(module: str, lost: set[str], old: Structure) -> bool:
    """Whether a module is a BatchNorm of which nothing has a place in the definition."""
    own = {key for key in (f"{module}.{part}" for part in _PARTS) if key in old.tensors}
    return f"{module}.running_mean" in own and own <= lost


def _has_bias_now(module: str, gained: set[str], old: Structure, new: Structure) -> bool:
    """Whether a layer with a weight, which both sides have, has a bias in the definition alone."""
    weight = old.tensors.get(f"{module}.weight")
    known = weight is not None and len(weight.shape) > 1 and f"{module}.weight" in new.tensors
    return known and f"{module}.bias" in gained


def _fits(layer: str, norm: str, old: Structure) -> bool:
    return old.tensors[f"{layer}.weight"].shape[0] == old.tensors[f"{norm}.running_mean"].numel


def _module(key: str) -> str:
    return key.rpartition(".")[0]
