"""The fewest rules that explain many changes; each says exactly which keys it is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.patterns import fold, fold_pairs
from pytest_ckpt_compat._renames.units.blocks import modules_of


@dataclass(frozen=True)
class Rule:
    """A rename of several keys at once.

    Attributes:
        old: pattern of the old keys.
        new: pattern of the new keys; the n-th braces of both go together.
        matches: exactly the pairs that the patterns stand for.
    """

    old: str
    new: str
    matches: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """``backbone.* -> encoder.*``."""
        return f"{self.old} -> {self.new}"


@dataclass(frozen=True)
class RuleSet:
    """What rules there are, and the pairs that no rule of more than one pair covers."""

    rules: tuple[Rule, ...]
    exceptions: tuple[tuple[str, str], ...]


def rules(changes: Iterable[Change], old_keys: Collection[str], new_keys: Collection[str]) -> RuleSet:
    """The rules that all certain and likely one-to-one moves among ``changes`` amount to.

    Args:
        changes: as ``infer`` gives them.
        old_keys: all keys of the old side; a rule matches none but those it explains.
        new_keys: all keys of the new side.
    """
    moves = [pair for change in changes if change.confidence != "ambiguous" for pair in _moves(change)]
    folded = fold_pairs(moves, old_keys, new_keys)
    return RuleSet(
        tuple(Rule(each.old_pattern, each.new_pattern, each.pairs) for each in folded if len(each.pairs) > 1),
        tuple(each.pairs[0] for each in folded if len(each.pairs) == 1),
    )


def grouped(
    changes: Sequence[Change], old_keys: Collection[str], new_keys: Collection[str]
) -> tuple[Change, ...]:
    """The changes, each with the text of the rule it belongs to."""
    text: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
    for kind, doubtful in sorted({_alike(change) for change in changes}):
        same = [change for change in changes if _alike(change) == (kind, doubtful)]
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


def _alike(change: Change) -> tuple[str, bool]:
    """Changes of one rule are of one kind, and an ambiguous one shares no rule with a believed one."""
    return change.kind, change.confidence == "ambiguous"


def _moves(change: Change) -> list[tuple[str, str]]:
    """The pairs of keys of a change, where its keys go over one by one."""
    if len(change.old) != len(change.new):
        return []
    return [(old, new) for old, new in zip(change.old, change.new, strict=True) if old != new]


def _joint(
    changes: Iterable[Change], old_keys: Collection[str], new_keys: Collection[str]
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], str]:
    """The text of splits, fuses and the like: the several keys of each folded, then all of them."""
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
    """The keys in one text, every one of them named: no ``*``."""
    if len(keys) == 1:
        return keys[0]
    others = {f"{module}." for key in keys for module in modules_of(key)}
    return " + ".join(each.pattern for each in fold(keys, (*keys, *others)))
