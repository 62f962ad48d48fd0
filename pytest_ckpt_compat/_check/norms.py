"""Says what became of normalising layers whose statistics one side lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._renames.units.order import is_registered

_STATISTICS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"
_PARTS = ("weight", "bias", *_STATISTICS, _COUNTER)
_FOLD = (
    "fold the BatchNorm into the layer before it while loading (migrate=), "
    "as torch.nn.utils.fusion.fuse_conv_bn_weights does"
)
_NO_BIAS = "the checkpoint's layer has none: it was an RMSNorm, or a LayerNorm without bias"
_LAYER_NORM = (
    "put an RMSNorm back if it was one: a LayerNorm computes something else with its weight; else build it "
    "with bias=False, or give it 0 while loading (migrate=)"
)
_GONE = "put it back: without it, the outputs are others"
_FUSED = (
    "if the definition was fused, fold it into that layer while loading (migrate=), as "
    f"torch.nn.utils.fusion.fuse_conv_bn_weights does; else {_GONE}"
)


def without_statistics(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; those of statistics that the checkpoint lacks, of counters, and of folded layers say so.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    into = folded(changes, old, new)
    after = _followed(changes, old, new)
    gone = {key for each in changes for key in set(each.old).difference(each.new)}
    told = [each if each.advice else _told(each, into, gone, old, new) for each in changes]
    return [each if each.advice else _of_gone(each, after, new) for each in told]


def _of_gone(change: Change, after: Mapping[str, str], new: Structure) -> Change:
    """A BatchNorm that is gone while the layer before it stays as it was."""
    layer = after.get(_module(change.old[0])) if change.kind == "unexpected" else None
    if layer is None:
        return change
    advice = _FUSED if f"{layer}.bias" in new.tensors else _GONE
    return replace(change, detail=f"a BatchNorm after {layer}, which stays", advice=advice)


def _followed(changes: Sequence[Change], old: Structure, new: Structure) -> dict[str, str]:
    """Lost BatchNorm -> the layer before it, which the definition has in the same size.

    An order by name does not show what came before: then it is the only layer beside it that fits.
    """
    lost = {key for each in changes if each.kind == "unexpected" for key in each.old}
    if not lost:
        return {}
    order = list(dict.fromkeys(map(_module, old.tensors)))
    norms = [each for each in order if _is_lost(each, lost, old)]
    stays = [each for each in order if _stays(each, old, new)] if norms else []
    if norms and is_registered(list(old.tensors)):
        return {
            norm: one
            for one, norm in pairwise(order)
            if norm in norms and one in stays and _fits(one, norm, old)
        }
    beside = {n: [one for one in stays if _module(one) == _module(n) and _fits(one, n, old)] for n in norms}
    return {norm: found[0] for norm, found in beside.items() if len(found) == 1}


def _stays(layer: str, old: Structure, new: Structure) -> bool:
    return _keeps_weight(layer, old, new) and len(old.tensors[f"{layer}.weight"].shape) > 1


def _told(change: Change, folded: dict[str, str], gone: set[str], old: Structure, new: Structure) -> Change:
    if change.kind == "unexpected" and (layer := folded.get(_module(change.old[0]))) is not None:
        return replace(change, detail=f"a BatchNorm, folded into {layer} here", advice=_FOLD)
    if change.kind == "unexpected":
        return _of_rms_norm(change, old, new)
    if change.kind != "missing":
        return change
    key = change.new[0]
    module, name = _module(key), key.rpartition(".")[2]
    if name == "bias" and module in folded.values():
        return replace(change, detail="of a folded BatchNorm", advice=_FOLD)
    short = new.modules.get(module, "").rpartition(".")[2]
    if name == "bias" and short == "LayerNorm" and _keeps_weight(module, old, new):
        return replace(change, detail=_NO_BIAS, advice=_LAYER_NORM)
    if name in (*_STATISTICS, _COUNTER):
        has_statistics = f"{module}.running_mean" in old.tensors
        if has_statistics or _is_norm(f"{module}.weight", gone, old):
            return _of_norm(change, name, short, has_statistics)
    return change


def _keeps_weight(module: str, old: Structure, new: Structure) -> bool:
    """Whether both sides have a module's weight, in one size: with another, it is another layer's."""
    ours, theirs = (side.tensors.get(f"{module}.weight") for side in (old, new))
    return ours is not None and theirs is not None and ours.shape == theirs.shape


def _is_norm(weight: str, gone: set[str], old: Structure) -> bool:
    """Whether the checkpoint has a weight of a normalising layer under a key, which went nowhere else."""
    tensor = old.tensors.get(weight)
    return tensor is not None and len(tensor.shape) == 1 and weight not in gone


def _of_rms_norm(change: Change, old: Structure, new: Structure) -> Change:
    """The bias of a layer whose weight has a place in an RMSNorm: it was a LayerNorm."""
    module, _, name = change.old[0].rpartition(".")
    short = new.modules.get(module, "").rpartition(".")[2]
    was = old.modules.get(module, "").rpartition(".")[2]
    if name != "bias" or "RMSNorm" not in short or short == was or not _keeps_weight(module, old, new):
        return change
    advice = (
        f"put the old layer back (as a LayerNorm): its weight fits the {short}, which computes something else"
    )
    return replace(change, detail=f"of a layer that is an {short} now", advice=advice)


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

    That layer has a bias now, and as many outputs as the BatchNorm has channels, and does not come after it.
    Where there are as many of the one as of the other, they follow each other in one order; else the layer
    stands right before its own.
    """
    lost = {key for each in changes if each.kind == "unexpected" for key in each.old}
    if not lost:
        return {}
    gained = {key for each in changes if each.kind == "missing" for key in each.new}
    order = list(dict.fromkeys(map(_module, old.tensors)))
    norms = [each for each in order if _is_lost(each, lost, old)]
    layers = [each for each in order if _has_bias_now(each, gained, old, new)]
    pairs = list(zip(layers, norms, strict=True)) if len(norms) == len(layers) else []
    if pairs and all(_fits(*pair, old) and _may_follow(*pair, order, old) for pair in pairs):
        return {norm: layer for layer, norm in pairs}
    after = dict(pairwise(order))
    return {
        norm: layer
        for layer, norm in pairwise(order)
        if layer in layers and norm in norms and after.get(norm) not in norms and _fits(layer, norm, old)
    }


def _may_follow(layer: str, norm: str, order: Sequence[str], old: Structure) -> bool:
    """Whether a norm can come after a layer: an order by name does not tell, that of a model does."""
    return order.index(layer) < order.index(norm) or not is_registered(list(old.tensors))


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
