"""Whether a file is what the migrations made of an earlier one, so that it took the earlier one's place."""

from __future__ import annotations

from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.structure import Structure


def is_converted(before: Structure, today: Structure, prefix: str | None) -> bool:
    """Whether a checkpoint holds exactly what its recorded migrations made of an earlier one.

    Args:
        before: the earlier one, with what its migrations did when it was recorded.
        today: the checkpoint.
        prefix: what the registration strips.
    """
    done = before.migrated
    if done is None or not done.names:
        return False
    known = (prefixes.strip(before, prefix) if prefix else before).tensors
    origins = {key: done.origin(key, known) for key in today.tensors}
    whole = {key: each for key, each in origins.items() if each and len(each.keys) == 1 and not each.how}
    taken = {key for each in origins.values() if each for key in each.keys}
    return (
        None not in origins.values()
        and done.origins.keys() <= today.tensors.keys()
        and taken | {*done.dropped} >= known.keys()
        and all(today.tensors[key] == known.get(each.keys[0]) for key, each in whole.items())
    )
