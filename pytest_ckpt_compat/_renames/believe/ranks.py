"""The rank that a name states: ``norm2``, ``norm_after``, ``conv_b``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pytest_ckpt_compat._renames.match.ordinals import LETTERS, ORDINALS

#: Words for the last of two.
_LAST = frozenset({"after", "post", "last", "final"})

_LAST_NUMBER = re.compile(r"\d{1,9}$")
_NUMBER = re.compile(r"\d{1,9}")


def rank_of(module: str) -> float:
    """Returns the rank that a module's name states (``norm2``, ``norm_after``, ``norm_b``); NaN if none."""
    name = module.rpartition(".")[2]
    digits = _LAST_NUMBER.search(name)
    if digits:
        return float(digits[0])
    words = name.split("_")
    ranks = [rank for rank, stating in enumerate(ORDINALS) if not stating.isdisjoint(words)]
    if not ranks and words[-1] in LETTERS:
        return float(LETTERS.index(words[-1]))
    return float(ranks[0]) if len(ranks) == 1 else math.nan


def ranks(paths: Sequence[str]) -> list[float]:
    """Returns the rank that each path states where it parts from the others; of a lone one, in its name.

    It is NaN if the paths differ in more than that, for then they are not one family.
    """
    split = [path.split(".") for path in paths]
    depths = range(min(map(len, split)))
    depth = next((i for i in depths if len({segments[i] for segments in split}) > 1), depths[-1])
    if len({tuple(segments[depth + 1 :]) for segments in split}) > 1:
        return [math.nan] * len(paths)
    names = [segments[depth] for segments in split]
    stated = _by_exclusion([rank_of(name) for name in names], names)
    distinct = len(set(stated)) == len(stated) and not any(map(math.isnan, stated))
    return stated if distinct else [first_number(name) for name in names]


def _by_exclusion(stated: list[float], names: Sequence[str]) -> list[float]:
    """Of two, the one is first if the other is called the last, as in ``norm`` and ``final_norm``."""
    if len(names) == 2 and any(map(math.isnan, stated)):
        last = [is_last(name) for name in names]
        if last[0] != last[1]:
            return [float(each) for each in last]
    return stated


def is_last(name: str) -> bool:
    """Whether a name has a word for the last of two."""
    return not _LAST.isdisjoint(name.split("_"))


def first_number(name: str) -> float:
    """Returns the first number in a name, as the rank of ``conv1_1x1``; NaN if it has none."""
    found = _NUMBER.search(name)
    return float(found[0]) if found else math.nan


def rise_together(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Whether all ranks are stated, and rise together."""
    pairs = sorted(zip(ours, theirs, strict=True))
    stated = not any(map(math.isnan, (*ours, *theirs)))
    return stated and all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(pairs))


def increasing(values: Sequence[Any]) -> bool:
    """Whether each value is above the one before it."""
    return all(one < other for one, other in pairwise(values))
