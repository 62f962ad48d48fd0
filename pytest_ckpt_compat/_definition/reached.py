"""Whether a load brought anything of the checkpoint into the definition."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._definition.counterparts import is_lazy
from pytest_ckpt_compat._definition.walk import tensors_of
from pytest_ckpt_compat._definition.watch import Watched, storage_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Entries:
    """The entries of a module around a load.

    Attributes:
        before: key -> storage, None for what has none.
        after: key -> entry.
        storages: key of ``after`` -> storage, None for what has none.
        missing: torch's list of missing keys.
        unexpected: torch's list of unexpected keys.
    """

    before: Mapping[str, int | None]
    after: Mapping[str, Any]
    storages: Mapping[str, int | None]
    missing: Collection[str]
    unexpected: Collection[str]


def reached_nothing(module: nn.Module, entries: Entries, state: Mapping[str, Any], watched: Watched) -> bool:
    """Whether both sides have tensors, and none of the definition's got anything of the checkpoint's.

    What cannot be observed is taken to have been reached.

    Args:
        module: the module after a load that raised nothing.
        entries: of the module.
        state: the checkpoint.
        watched: the load.
    """
    if not watched.reached.isdisjoint(entries.storages.values()):
        return False
    given = {key: storage_of(value) for key, value in state.items() if _holds(value) and not is_lazy(value)}
    kept = {key: entries.storages[key] for key, value in entries.after.items() if _holds(value)}
    if not given or not kept:
        return False
    if any(given.get(key, 0) is None and key not in entries.missing for key in kept):
        return False
    # Code that is not torch's may take numbers out of torch, or write where nothing can be observed.
    others = [storage_of(each) for each in _others(module, entries)]
    if watched.users and (None in others or watched.doubts.asked):
        return False
    changed = (key for key, storage in kept.items() if storage is None or storage != entries.before.get(key))
    # A load replaced it, or it is saved anew at each call: no news where nothing of the file was taken.
    taken = watched.used or watched.doubts.read or not state.keys() <= set(entries.unexpected)
    if taken and any(key not in entries.missing for key in changed):
        return False
    touched: set[int | None] = {*watched.reached}
    if watched.users and (None in given.values() or watched.doubts.read):
        touched |= watched.written | {storage_of(each) for each in watched.doubts.read}
    own = {*kept.values(), *others} - {None}
    return own.isdisjoint(touched) and own.isdisjoint(watched.derived.keys())


def _others(module: nn.Module, entries: Entries) -> list[Any]:
    """The tensors of a module that are not among its entries, such as buffers that are not saved."""
    known = set(map(id, entries.after.values()))
    return [each for each in tensors_of(module) if _holds(each) and id(each) not in known]


def _holds(value: Any) -> bool:
    """Whether a value is a tensor with elements, or one of which the first input decides how many."""
    import torch

    return isinstance(value, torch.Tensor) and (is_lazy(value) or value.numel() > 0)
