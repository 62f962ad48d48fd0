"""The two forms in which ``nn.MultiheadAttention`` keeps its weights: joint, and one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Structure, TensorSpec

_JOINT = "in_proj_weight"
#: In torch's own order, in which the joint weight holds them.
_PARTS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
_EVIDENCE = ("the two forms of nn.MultiheadAttention, in torch's own order",)
_Facts = tuple[Change, ...]


def in_own_forms(facts: Iterable[Change], old: Structure, new: Structure) -> _Facts:
    """The facts; what one form of ``nn.MultiheadAttention`` has for the other, is said as that.

    It registers the tensors of the form that it does not use as None, so that they are not simply lost.

    Args:
        facts: what a load found.
        old: the checkpoint.
        new: the definition.
    """
    found = tuple(facts)
    lost = {key for each in found if each.kind == "unexpected" for key in each.old}
    wanted = {key for each in found if each.kind == "missing" for key in each.new}
    made: list[Change] = []
    for path in dict.fromkeys(_paths((*lost, *wanted))):
        joint, parts = path + _JOINT, tuple(path + name for name in _PARTS)
        if joint in wanted and lost.issuperset(parts):
            made += _changes(path, parts, (joint,), old, new)
        elif joint in lost and wanted.issuperset(parts):
            made += _changes(path, (joint,), parts, old, new)
    told_old, told_new = ({key for each in made for key in getattr(each, side)} for side in ("old", "new"))
    rest = [
        each
        for each in found
        if not (each.kind == "unexpected" and told_old.issuperset(each.old))
        and not (each.kind == "missing" and told_new.issuperset(each.new))
    ]
    return (*made, *rest)


def sizes(old: Structure, new: Structure) -> Iterator[tuple[int, int]]:
    """The (old, new) ``kdim`` and ``vdim`` of attentions that differ in them."""
    for path in dict.fromkeys(_paths(new.tensors)):
        for before, after in zip(_inputs(path, old), _inputs(path, new), strict=False):
            if before != after:
                yield before, after


def _paths(keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        path, dot, name = key.rpartition(".")
        if name in (_JOINT, *_PARTS):
            yield path + dot


def _inputs(path: str, side: Structure) -> tuple[int, ...]:
    """``kdim`` and ``vdim`` of an attention; () if its weights are not there."""
    joint = side.tensors.get(path + _JOINT)
    if joint is not None and len(joint.shape) == 2:
        return (joint.shape[1],) * 2
    parts = [side.tensors.get(path + name) for name in _PARTS[1:]]
    return tuple(each.shape[1] for each in parts if each is not None and len(each.shape) == 2)


def _named(sizes: tuple[int, ...]) -> str:
    return f"kdim={sizes[0]} and vdim={sizes[1]}" if len(sizes) == 2 else ""


def _changes(
    path: str, keys: tuple[str, ...], others: tuple[str, ...], old: Structure, new: Structure
) -> Iterator[Change]:
    before = tuple(old.tensors[key] for key in keys)
    after = tuple(new.tensors[key] for key in others)
    if _joins(before, after[0]) if len(keys) > 1 else _joins(after, before[0]):
        kind = Change("fused" if len(keys) > 1 else "split", keys, others, before, after)
        yield replace(kind, evidence=_EVIDENCE)
        return
    theirs, ours = _named(_inputs(path, old)), _named(_inputs(path, new))
    if not theirs or not ours:
        return
    detail = f"an attention with {theirs} in the file, with {ours} here"
    advice = f"build it with {theirs}: its numbers fit no other one"
    for key, spec in zip(keys, before, strict=True):
        yield Change("unexpected", (key,), (), (spec,), detail=detail, advice=advice)
    for key, spec in zip(others, after, strict=True):
        yield Change("missing", (), (key,), (), (spec,), advice=advice)


def _joins(parts: Iterable[TensorSpec], whole: TensorSpec) -> bool:
    """Whether the parts are the thirds of a whole, from the top."""
    shapes = {each.shape for each in parts}
    shape = next(iter(shapes))
    return len(shapes) == 1 and len(shape) == 2 and whole.shape == (3 * shape[0], shape[1])
