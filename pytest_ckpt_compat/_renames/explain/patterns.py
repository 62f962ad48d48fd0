"""Covers many changes with few patterns. Each pattern names exactly the keys that it covers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.patterns import fold, fold_pairs
from pytest_ckpt_compat._renames.units.paths import modules_of


@dataclass(frozen=True)
class RenamePattern:
    """A rename of several keys at once.

    Attributes:
        old: pattern of the old keys.
        new: pattern of the new keys. The n-th braces of both patterns correspond.
        matches: the (old, new) keys that the patterns cover, and no others.
    """

    old: str
    new: str
    matches: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """``backbone.* -> encoder.*``."""
        return f"{self.old} -> {self.new}"


@dataclass(frozen=True)
class RenamePatterns:
    """Patterns that cover several keys each, and the (old, new) keys that none of them covers."""

    patterns: tuple[RenamePattern, ...]
    exceptions: tuple[tuple[str, str], ...]


def rename_patterns(
    changes: Iterable[Change], old_keys: Collection[str], new_keys: Collection[str]
) -> RenamePatterns:
    """Covers the one-to-one renames among ``changes`` that are certain or likely with few patterns.

    Args:
        changes: the return value of ``infer``.
        old_keys: all keys of the old side. A pattern matches none of them but those it covers.
        new_keys: all keys of the new side.
    """
    moves = [pair for change in changes if change.confidence != "ambiguous" for pair in _moves(change)]
    folded = fold_pairs(moves, old_keys, new_keys)
    return RenamePatterns(
        tuple(
            RenamePattern(each.old_pattern, each.new_pattern, each.pairs)
            for each in folded
            if len(each.pairs) > 1
        ),
        tuple(each.pairs[0] for each in folded if len(each.pairs) == 1),
    )


def grouped(
    changes: Sequence[Change], old_keys: Collection[str], new_keys: Collection[str]
) -> tuple[Change, ...]:
    """Returns the changes with ``group`` set to the pattern that covers each."""
    text: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
    for kind, doubtful in sorted({_category(change) for change in changes}):
        same = [change for change in changes if _category(change) == (kind, doubtful)]
        owners = {pair: change for change in same for pair in _moves(change)}
        for folded in fold_pairs(list(owners), old_keys, new_keys):
            for pair in folded.pairs:
                text.setdefault((owners[pair].old, owners[pair].new), str(folded))
        text.update(_joint(same, old_keys, new_keys))
    for kind in {change.kind for change in changes}:
        stayed = {
            (change.old or change.new)[0]: change
            for change in changes
            if change.kind == kind and (not change.old or not change.new or change.old == change.new)
        }
        for each in fold(list(stayed), new_keys if kind == "missing" else old_keys):
            text.update({(stayed[key].old, stayed[key].new): each.pattern for key in each.keys})
    return tuple(replace(change, group=text.get((change.old, change.new), "")) for change in changes)


def _category(change: Change) -> tuple[str, bool]:
    """Returns what changes under one pattern share: their kind, and whether they are ambiguous."""
    return change.kind, change.confidence == "ambiguous"


def _moves(change: Change) -> list[tuple[str, str]]:
    """Returns the (old, new) keys of a change whose keys correspond one to one, else nothing."""
    if len(change.old) != len(change.new):
        return []
    return [(old, new) for old, new in zip(change.old, change.new, strict=True) if old != new]


def _joint(
    changes: Iterable[Change], old_keys: Collection[str], new_keys: Collection[str]
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], str]:
    """Returns the patterns of splits and fusions: folds the keys of each change, then all changes."""
    several = {
        (_pattern(change.old), _pattern(change.new)): change
        for change in changes
        if change.old and change.new and len(change.old) != len(change.new)
    }
    universes = ({*keys, *(pair[side] for pair in several)} for side, keys in enumerate((old_keys, new_keys)))
    return {
        (several[pair].old, several[pair].new): str(each)
        for each in fold_pairs(list(several), *universes)
        for pair in each.pairs
    }


def _pattern(keys: tuple[str, ...]) -> str:
    """Returns one text that names each of the keys, without ``*``."""
    if len(keys) == 1:
        return keys[0]
    # One more key in every subtree, so that none is whole.
    others = {"", *(f"{module}." for key in keys for module in modules_of(key))}
    return " + ".join(each.pattern for each in fold(keys, (*keys, *others)))
