"""Where tied tensors get their values from, if a checkpoint has only one of their keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_ckpt_compat._core.changes import Change, Confidence, moves
from pytest_ckpt_compat._core.structure import Structure


@dataclass(frozen=True)
class Source:
    """What a tied tensor that the checkpoint lacks is to be given.

    Attributes:
        tensor: the key in the checkpoint.
        key: the key of the definition that gets this tensor, and is tied to the one that is missing.
        confidence: how sure it is that the tensor belongs there.
    """

    tensor: str
    key: str
    confidence: Confidence = "certain"


def sources(
    missing: Iterable[str], changes: Iterable[Change], old: Structure, new: Structure
) -> dict[str, Source]:
    """Missing key -> where its value is, for keys tied to one that the checkpoint has, perhaps renamed.

    Args:
        missing: keys that the checkpoint lacks.
        changes: how the checkpoint differs from the definition, explained.
        old: the checkpoint.
        new: the definition.
    """
    groups = {key: group for group in new.aliases for key in group}
    wanted = {key: groups[key] for key in missing if key in groups}
    if not wanted:
        return {}
    given = _given(changes, old)
    return {
        key: found
        for key, group in wanted.items()
        if (found := next((given[other] for other in group if other != key and other in given), None))
        and old.tensors[found.tensor].shape == new.tensors[key].shape
    }


def _given(changes: Iterable[Change], old: Structure) -> Mapping[str, Source]:
    """Key of the definition -> the tensor that it gets: its own, or the one that was renamed to it."""
    moved: dict[str, Source] = {}
    taken: set[str] = set()
    for change in changes:
        for before, after in moves(change):
            moved[after] = Source(before, after, change.confidence)
            taken.add(before)
    return {key: Source(key, key) for key in old.tensors if key not in taken} | {
        key: source for key, source in moved.items() if source.tensor in old.tensors
    }
