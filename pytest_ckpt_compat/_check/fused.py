"""A checkpoint in the form of training, for a definition in its deployed one, with branches fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_ckpt_compat._check.norms import folded
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.structure import Structure

_LOST: frozenset[Kind] = frozenset({"missing", "unexpected", "resized", "head-resized"})
_STATISTIC = "running_mean"
#: What is said of a tensor of the checkpoint that was fused.
INTO = "fused here with the BatchNorm and the branches beside it"
_FUSE = (
    "load it into the model as it was trained, fuse that by its own code (fuse, switch_to_deploy), and "
    "save it again, or fuse while loading (migrate=): to drop these is to lose what was trained"
)


def with_fused(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; where every BatchNorm of the checkpoint went into kernels that have a bias now, with this.

    Nothing but kernels and their biases may be new, and each has the channels of one in the checkpoint.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    norms = {_module(key) for key in old.tensors if key.endswith(f".{_STATISTIC}")}
    if not norms or any(key.rpartition(".")[2] == _STATISTIC for key in new.tensors):
        return changes
    if norms <= folded(changes, old, new).keys() or not _are_fused(changes, old, new):
        return changes
    return [_told(each) if each.kind in _LOST and not each.advice else each for each in changes]


def _told(change: Change) -> Change:
    detail = INTO if not change.new else change.detail
    detail = detail if change.old else "of what is fused here"
    return replace(
        change, kind="resized" if change.old and change.new else change.kind, detail=detail, advice=_FUSE
    )


def _are_fused(changes: Sequence[Change], old: Structure, new: Structure) -> bool:
    gained = {key for each in changes if each.kind == "missing" for key in each.new}
    theirs = {key: spec.shape for key, spec in new.tensors.items() if _is_kernel(spec.shape)}
    layers = {_module(key) for key in theirs}
    if not gained or not all(key in theirs or _is_bias(key, layers) for key in gained):
        return False
    channels = {spec.shape[:2] for spec in old.tensors.values() if _is_kernel(spec.shape)}
    fitting = all(shape[:2] in channels for key, shape in theirs.items())
    return fitting and any(_is_bias(key, layers) for key in gained)


def _is_bias(key: str, layers: set[str]) -> bool:
    return key.rpartition(".")[2] == "bias" and _module(key) in layers


def _is_kernel(shape: tuple[int, ...]) -> bool:
    return len(shape) > 2


def _module(key: str) -> str:
    return key.rpartition(".")[0]
