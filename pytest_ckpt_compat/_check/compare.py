"""Compares two structures and returns what differs, as unjudged changes."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

from pytest_ckpt_compat._core.adapters import ADAPTER
from pytest_ckpt_compat._core.changes import TIED, Change
from pytest_ckpt_compat._core.dtypes import lost
from pytest_ckpt_compat._core.heads import is_head
from pytest_ckpt_compat._core.structure import EXTRA_STATE, OBJECT, UNINITIALIZED, Structure, TensorSpec

_V = TypeVar("_V")
_NO_NUMBERS = frozenset({OBJECT, UNINITIALIZED})


class Sides(NamedTuple):
    """Keys by the side they are on, each in the order of its side."""

    old_only: tuple[str, ...]
    new_only: tuple[str, ...]
    both: tuple[str, ...]


def sides(old: Mapping[str, _V], new: Mapping[str, _V]) -> Sides:
    """Splits the keys of two mappings by the side they are on."""
    return Sides(
        old_only=tuple(key for key in old if key not in new),
        new_only=tuple(key for key in new if key not in old),
        both=tuple(key for key in new if key in old),
    )


def compare(old: Structure, new: Structure) -> tuple[Change, ...]:
    """What a strict load of ``old`` into ``new`` would find if there were no hooks.

    Resized keys first, then missing and unexpected ones, each in the order of its side.
    """
    split = sides(old.tensors, new.tensors)
    refused = [key for key in split.both if not fits(old.tensors[key], new.tensors[key])]
    tied = tied_to(new, frozenset(split.new_only))
    return (
        *(resized(key, old, new) for key in refused),
        *(missing(key, new, tied) for key in split.new_only),
        *(unexpected(key, old) for key in split.old_only),
        *_objects_for_tensors(old, new, split.both),
        *retyped(old, new, refused),
        *retied(old, new),
    )


def missing(key: str, new: Structure, tied: Mapping[str, str]) -> Change:
    """The change for a key that the checkpoint lacks; ``tied`` is as ``tied_to`` gives it."""
    if _is_extra_state(key):
        return Change("extra-state", new=(key,), new_specs=_specs(new, key), detail="appeared")
    detail = TIED + tied[key] if key in tied else ""
    return Change("missing", new=(key,), new_specs=_specs(new, key), detail=detail)


def tied_to(new: Structure, absent: Set[str]) -> Mapping[str, str]:
    """Key -> the first other key of its tensor that is none of the ``absent`` ones, where there is one."""
    found: dict[str, str] = {}
    for group in new.aliases:
        there = [alias for alias in group if alias not in absent][:2]
        for key in group:
            other = next((alias for alias in there if alias != key), None)
            if other is not None:
                found.setdefault(key, other)
    return found


def unexpected(key: str, old: Structure) -> Change:
    """The change for a key that the definition has no use for."""
    if _is_extra_state(key):
        return Change("extra-state", old=(key,), old_specs=_specs(old, key), detail="vanished")
    return Change("unexpected", old=(key,), old_specs=_specs(old, key))


def resized(key: str, old: Structure, new: Structure, before_key: str = "") -> Change:
    """The change for a key whose shape differs; ``before_key`` is the checkpoint's, where that is another."""
    before_key = before_key or key
    before, after = old.tensors.get(before_key), new.tensors.get(key)
    of_head = before is not None and after is not None and _is_head_resize(key, before, after, new)
    return Change(
        "head-resized" if of_head else "resized",
        old=(before_key,),
        new=(key,),
        old_specs=_specs(old, before_key),
        new_specs=_specs(new, key),
        detail=f"outputs {before.shape[0]} -> {after.shape[0]}" if of_head and before and after else "",
    )


def retyped(
    old: Structure,
    new: Structure,
    refused: Collection[str] = (),
    copied: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Change]:
    """The keys whose dtype differs; torch casts all but the ``refused`` ones and gives no warning.

    Args:
        old: the checkpoint.
        new: the definition.
        refused: keys that torch does not copy.
        copied: key -> the dtype of what was copied there, which a hook may have made of the checkpoint's.
    """
    refused = frozenset(refused)
    for key, after in new.tensors.items():
        before = old.tensors.get(key)
        if before is None or before.dtype == after.dtype or copied.get(key) == after.dtype:
            continue
        if key not in refused and before.dtype not in _NO_NUMBERS and after.dtype not in _NO_NUMBERS:
            detail, advice = lost(key, before, after)
            yield Change("retyped", (key,), (key,), (before,), (after,), detail=detail, advice=advice)


def retied(
    old: Structure,
    new: Structure,
    left_out: Container[str] = (),
    in_load: Sequence[tuple[str, ...]] = (),
) -> Iterator[Change]:
    """The groups of keys that are tied on one side only.

    Args:
        old: the checkpoint.
        new: the definition.
        left_out: keys of the checkpoint that code before torch's own load takes out.
        in_load: groups of keys of the definition that its load has tied.
    """
    if not old.aliases and not new.aliases:
        return
    shared = set(sides(old.tensors, new.tensors).both)
    before, after = _ties(old, shared), _ties(new, shared)
    for group in after:
        if not any(set(group) <= set(other) for other in before):
            yield Change("retied", old=group, new=group, detail=_overwritten(group, before, new, left_out))
    for group in before:
        if not any(set(group) <= set(other) for other in (*after, *in_load)):
            yield Change("retied", old=group, new=group, detail="no longer tied")


def _overwritten(
    group: tuple[str, ...], before: Sequence[tuple[str, ...]], new: Structure, left_out: Container[str]
) -> str:
    """Which of the checkpoint's tensors remains in the one that several keys share, and which do not.

    Torch copies in the order of the definition, so that the last one remains.
    """
    order = [key for key in new.tensors if key in group]
    kept = next((key for key in reversed(order) if key not in left_out), order[-1])
    same = next((other for other in before if kept in other), (kept,))
    lost = [key for key in group if key not in same]
    differ = "it differs" if len(lost) == 1 else "they differ"
    return f"now tied: the load keeps {kept}, and loses {' and '.join(lost)} if {differ}"


def _ties(structure: Structure, among: set[str]) -> list[tuple[str, ...]]:
    groups = (tuple(sorted(key for key in group if key in among)) for group in structure.aliases)
    return [group for group in groups if len(group) > 1]


def _objects_for_tensors(old: Structure, new: Structure, keys: tuple[str, ...]) -> Iterator[Change]:
    for key in keys:
        before, after = old.tensors[key], new.tensors[key]
        if before.dtype == OBJECT and after.dtype != OBJECT and not _is_extra_state(key):
            detail = "the checkpoint holds something that is not a tensor"
            yield Change("load-raises", (key,), (key,), (before,), (after,), detail=detail)


def fits(old: TensorSpec, new: TensorSpec) -> bool:
    """Whether torch copies one into the other: shapes are equal, or one element goes into a scalar.

    What has no shape yet takes that of the checkpoint, and goes into nothing that has one.
    """
    if OBJECT in (old.dtype, new.dtype) or new.dtype == UNINITIALIZED:
        return True
    if old.dtype == UNINITIALIZED:
        return False
    return old.shape == new.shape or (old.shape == (1,) and new.shape == ())


def _is_extra_state(key: str) -> bool:
    return key.rpartition(".")[2] == EXTRA_STATE


def _is_head_resize(key: str, before: TensorSpec, after: TensorSpec, new: Structure) -> bool:
    """Whether the number of outputs of a head, and nothing else, differs."""
    if not before.shape or len(before.shape) != len(after.shape) or before.shape[1:] != after.shape[1:]:
        return False
    module = _module(key)
    last = next(reversed(cast(Any, new.tensors)))  # a read-only dict, of which the end is at hand
    is_last = module == _module(last) and new.source.format != ADAPTER  # which has a few layers of a model
    return is_head(module, is_last, rank=2) and (len(after.shape) > 1 or _rank(module, new) > 1)


def _module(key: str) -> str:
    """The layer that a tensor belongs to, as it was before ``torch.nn.utils.parametrize`` wrapped it."""
    return key.rpartition(".")[0].partition(".parametrizations.")[0]


def _rank(module: str, structure: Structure) -> int:
    """The most dimensions of a tensor in the module or below it."""
    below = f"{module}." if module else ""
    return max((len(s.shape) for key, s in structure.tensors.items() if key.startswith(below)), default=0)


def _specs(structure: Structure, key: str) -> tuple[TensorSpec, ...]:
    spec = structure.tensors.get(key)
    return () if spec is None else (spec,)
