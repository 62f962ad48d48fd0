"""A file that holds the model more than once, under several prefixes: which is meant, it does not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pytest_ckpt_compat._check.compare import fits
from pytest_ckpt_compat._core.changes import Change, Confidence
from pytest_ckpt_compat._core.structure import Structure


def copies(changes: Sequence[Change], old: Structure, new: Structure) -> Sequence[Change]:
    """The changes; where the file holds the model under several prefixes, with this in place of a choice.

    Student and teacher, two generators, a query and a key encoder: names and shapes are the same, and the
    first one in the file is no better than the others.

    Args:
        changes: what a load found, explained.
        old: the checkpoint.
        new: the definition.
    """
    found = _prefixes(old, new)
    if len(found) < 2:
        return changes
    listed = " and ".join(f'"{prefix}"' for prefix in found)
    advice = (
        f"the file holds the model under {listed}: take the one that you mean off its prefix, and drop "
        f"the other, "
        "while loading (migrate=)"
    )
    return [
        replace(each, confidence=_doubted(each), advice=advice)
        if each.kind in ("renamed", "unexpected") and all(key.startswith(tuple(found)) for key in each.old)
        else each
        for each in changes
    ]


def _doubted(change: Change) -> Confidence:
    return "likely" if change.kind == "renamed" and change.confidence == "certain" else change.confidence


def _prefixes(old: Structure, new: Structure) -> tuple[str, ...]:
    """The prefixes under each of which the file holds every tensor of the definition, in the file's order."""
    counted: Counter[str] = Counter()
    for key, spec in old.tensors.items():
        if key in new.tensors:
            return ()  # the model itself is there
        start = key.partition(".")[0]
        path = start + "." if start != key else ""
        while path and key != path:
            bare = key[len(path) :]
            if bare in new.tensors and fits(spec, new.tensors[bare]):
                counted[path] += 1
            segment = bare.partition(".")[0]
            path = "" if segment == bare else f"{path}{segment}."
    return tuple(prefix for prefix, number in counted.items() if number == len(new.tensors))
