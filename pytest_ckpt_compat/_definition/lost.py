"""What of a checkpoint a load loses without an error: left out before it, or gone again before it is over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_ckpt_compat._definition.watch import Watched, storage_of


@dataclass(frozen=True)
class Lost:
    """What took the place of values that a load had brought.

    Attributes:
        replaced: whether another tensor did; else other values were written into the same one.
        tied_to: the key that has this other tensor, too, or "".
    """

    replaced: bool
    tied_to: str = ""


def lost_again(
    before: Mapping[str, int | None], after: Mapping[str, int | None], watched: Watched
) -> dict[str, Lost]:
    """Key -> what became of its values, for keys that got the checkpoint's and do not have them any more.

    Args:
        before: key -> storage before the load.
        after: key -> storage after it; empty if it raised.
        watched: the load.
    """
    if after is before and not watched.overwritten:
        return {}
    kept = set(after.values())
    owners = {storage: key for key, storage in before.items() if storage is not None and storage in kept}
    found = {}
    for key, storage in after.items():
        first = before.get(key)
        if storage is None or first is None:
            continue
        if storage in watched.overwritten:
            found[key] = Lost(replaced=False)
        elif storage != first and first in watched.reached and first not in kept:
            sources = watched.derived.get(first, frozenset())
            if sources and sources.isdisjoint(watched.derived.get(storage, ())):
                found[key] = Lost(replaced=True, tied_to=owners.get(storage, ""))
    return found


def unused(state: Mapping[str, Any], seen: Collection[int] | None, watched: Watched) -> tuple[str, ...]:
    """The keys of a checkpoint that neither torch's own load was given, nor anything was made of.

    Args:
        state: the checkpoint.
        seen: storages of what torch's load was given; None if it did not begin.
        watched: the load.
    """
    if seen is None or not watched.users:
        return ()
    used = {source for storage in watched.reached for source in watched.derived.get(storage, ())}
    storages = {key: storage_of(value) for key, value in state.items()}
    return tuple(
        key
        for key, storage in storages.items()
        if storage is not None and storage not in seen and storage not in used
    )
