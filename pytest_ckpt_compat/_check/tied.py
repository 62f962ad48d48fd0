"""Says of a tied tensor that the checkpoint lacks which of its tensors belongs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_ckpt_compat._core.changes import TIED, Change
from pytest_ckpt_compat._core.patterns import fold_pairs
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
    tied = {
        key: TIED + folded.old_pattern
        for folded in fold_pairs([(each.key, key) for key, each in found.items()], new.tensors, new.tensors)
        for _, key in folded.pairs
    }
    told = {}
    for folded in fold_pairs([(each.tensor, key) for key, each in found.items()], old.tensors, new.tensors):
        given = f"the checkpoint's {folded.old_pattern}, to which {_is(folded.pairs)} tied"
        for _, key in folded.pairs:
            told[key] = (
                tied[key],
                f"give {folded.new_pattern} {given} (migrate=): any other value would overwrite that, too",
            )
    return told


def _is(pairs: Sequence[object]) -> str:
    return "it is" if len(pairs) == 1 else "they are"
