"""Says of a tied tensor that the checkpoint lacks which of its tensors belongs there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from pytest_ckpt_compat._core.changes import TIED, Change
from pytest_ckpt_compat._core.patterns import fold, fold_pairs
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.ties import Source, sources


def with_sources(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; a missing key that is tied to one that gets a tensor is to be given the same tensor.

    A default would be copied into the memory that both share, over what was trained.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    missing = {key for each in changes if each.kind == "missing" and not each.advice for key in each.new}
    # Counters that torch fills in belong to the modules that are tied.
    found = sources((key for key in new.tensors if key not in old.tensors), changes, old, new)
    if missing.isdisjoint(found):
        return changes
    told = _told(found, old, new)
    return [
        replace(each, detail=told[each.new[0]][0], advice=told[each.new[0]][1])
        if each.kind == "missing" and each.new[0] in missing and each.new[0] in found
        else each
        for each in changes
    ]


def _told(found: Mapping[str, Source], old: Structure, new: Structure) -> Mapping[str, tuple[str, str]]:
    """Missing key -> the clause about it, and what helps; keys of one pattern share their words."""
    told: dict[str, tuple[str, str]] = {}
    for keys in _groups(found):
        pairs = [(found[key].key, key) for key in keys]
        tied = {
            key: TIED + pattern
            for pattern, _, some in _folded(pairs, new.tensors, new.tensors)
            for key in some
        }
        pairs = [(found[key].tensor, key) for key in keys]
        for tensor, pattern, some in _folded(pairs, old.tensors, new.tensors):
            given = f"the checkpoint's {tensor}, to which {_is(some)} tied"
            advice = f"give {pattern} {given} (migrate=): any other value would overwrite that, too"
            told |= {key: (tied[key], advice) for key in some}
    return told


def _groups(found: Mapping[str, Source]) -> Iterator[Sequence[str]]:
    """The keys in as few groups as may be: each of one tensor, or each with no tensor twice."""
    of_tensor = defaultdict(list)
    for key, each in found.items():
        of_tensor[each.tensor].append(key)
    if len(of_tensor) < max(map(len, of_tensor.values())):
        yield from of_tensor.values()
    else:
        for row in zip_longest(*of_tensor.values()):
            yield [key for key in row if key is not None]


def _folded(
    pairs: Sequence[tuple[str, str]], old: Iterable[str], new: Iterable[str]
) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Pattern of the given keys, pattern of those that get them, and these themselves."""
    first = pairs[0][0]
    if all(source == first for source, _ in pairs):
        for one in fold([key for _, key in pairs], new):
            yield first, one.pattern, one.keys
        return
    for both in fold_pairs(pairs, old, new):
        yield both.old_pattern, both.new_pattern, [key for _, key in both.pairs]


def _is(keys: Sequence[str]) -> str:
    return "it is" if len(keys) == 1 else "they are"
