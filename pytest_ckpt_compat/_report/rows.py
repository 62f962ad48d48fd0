"""A verdict's changes as rows, as few as possible: the body of every report for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.patterns import Fold, fold
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._core.structure import OBJECT, Structure, TensorSpec
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.brief import brief
from pytest_ckpt_compat._report.refusals import refusal
from pytest_ckpt_compat._report.settings_rows import settings_lines

#: How a report writes the key that has no letters.
_NO_NAME = '""'
#: Keys that a pattern of all keys names beside it.
_NAMES = 3


@dataclass(frozen=True)
class Row:
    """One line of a report.

    Attributes:
        rule: the rule that judged it.
        severity: the judgement.
        sign: the rule's sign, or ``=`` for a change that is accepted, ignored or existed before.
        subject: the keys, folded, safe to print.
        note: specs, how many tensors, and the change's detail, safe to print.
        tensors: how many tensors the row stands for.
        changes: the changes that it stands for.
    """

    rule: str
    severity: Severity
    sign: str
    subject: str
    note: str
    tensors: int
    changes: tuple[Change, ...]


def rows(verdict: Verdict, full: bool = False) -> tuple[Row, ...]:
    """The verdict's changes in report order, folded into patterns; ``full`` gives each its own row."""
    groups: dict[tuple[object, ...], list[Change]] = {}
    for alike, changes in groupby(verdict.changes, _alike):  # to compare takes less than to hash
        groups.setdefault(alike, []).extend(changes)
    found = (row for changes in groups.values() for row in _rows(changes, verdict, full))
    return tuple(found if full else map(_readable, found))


def _readable(row: Row) -> Row:
    """The row with no more of its patterns and keys than can be read."""
    subject = brief(row.subject)
    if subject == row.subject:
        return row
    return replace(row, subject=subject, note="   ".join(filter(None, (row.note, "(-vv prints all)"))))


def _alike(change: Change) -> tuple[object, ...]:
    """What changes must have in common to share a row."""
    if change.kind == "retyped":  # of which a model in another dtype has one a key
        casts = change.old_specs[0].dtype, change.new_specs[0].dtype
        return change.kind, change.severity, change.reason, change.detail, casts
    in_place = change.old == change.new or (not change.old and change.old_specs)
    specs: tuple[object, ...] = (change.old_specs, change.new_specs) if in_place else ()
    # A prefix has one row; an adapter has keys with a place in the model, and others without.
    sides = (bool(change.old), bool(change.new)) if change.kind != "prefixed" else ()
    refused = refusal(change)  # of which each detail has the key
    detail = refused[1] if refused else change.detail
    return change.kind, change.severity, change.reason, detail, sides, specs


def _rows(changes: Sequence[Change], verdict: Verdict, full: bool) -> Iterator[Row]:
    first = changes[0]
    if first.kind == "prefixed":
        yield from _prefix_rows(changes, verdict, full)
    elif first.kind == "settings-changed":
        for line in settings_lines(changes, verdict, full):
            yield _row(line.changes, line.modules, line.note, 0)
    elif first.kind == "retied":
        for change in changes:
            yield _row([change], " = ".join(change.new), change.detail, len(change.new))
    elif refusal(first):
        yield from _refused_rows(changes, verdict, full)
    elif not first.old and not first.new:
        for change in changes:
            yield _row([change], change.detail, "", 0)
    elif first.old and first.new and first.old != first.new:
        yield from _pair_rows(changes, full)
    else:
        yield from _key_rows(changes, verdict, full)


def _refused_rows(changes: Sequence[Change], verdict: Verdict, full: bool) -> Iterator[Row]:
    """Rows of tensors that cannot be copied for one reason: ``{a,b}.weight   cannot be copied: ...``."""
    told = {found[0]: (change, found[1]) for change in changes if (found := refusal(change))}
    patterns: list[tuple[str, Sequence[str]]] = [(key, (key,)) for key in told]
    if not full:
        patterns = [(each.pattern, each.keys) for each in fold(list(told), _keys(verdict.new))]
    for pattern, keys in patterns:
        note = "   ".join(part for part in (_number(len(keys)), told[keys[0]][1]) if part)
        yield _row([told[key][0] for key in keys], pattern, note, 0)


def _prefix_rows(changes: Sequence[Change], verdict: Verdict, full: bool) -> Iterator[Row]:
    """One row for all keys that only lost or gained a prefix: ``module.* -> *   80 of 116 tensors``."""
    first = changes[0]
    if full:
        for change in changes:
            for old, new in zip_longest(change.old, change.new, fillvalue=""):
                yield _row([change], f"{old} -> {new}" if old and new else old or new, "", 1)
        return
    number = sum(len(change.old) for change in changes) or len(first.new)
    total = len(_keys(verdict.old if first.old else verdict.new))
    yield _row(
        changes,
        first.group,
        f"{number:,} of {count(total, 'tensor')}" if number < total else _number(number),
        number,
    )


def _pair_rows(changes: Sequence[Change], full: bool) -> Iterator[Row]:
    """Rows of changes between different keys, one for each group: ``backbone.* -> encoder.*``."""
    if full:
        for change in changes:
            note = "   ".join(part for part in (_pair_note([change]), ", ".join(change.evidence)) if part)
            yield _row([change], f"{_list(change.old)} -> {_list(change.new)}", note, 1)
        return
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.group or f"{_list(change.old)} -> {_list(change.new)}", []).append(change)
    for group, members in groups.items():
        note = _pair_note(members)
        if "*" in group.split(" -> ") and not members[0].detail:
            note = "   ".join(part for part in (note, _named([change.old[0] for change in members])) if part)
        yield _row(members, group, note, len(members))


def _list(keys: Sequence[str]) -> str:
    return (keys[0] or _NO_NAME) if len(keys) == 1 else "{" + ", ".join(keys) + "}"


def _pair_note(changes: Sequence[Change]) -> str:
    """``24 tensors   split in 3   likely``."""
    first = changes[0]
    parts = [_number(len(changes))]
    if first.kind == "split":
        parts.append(f"split in {len(first.new)}")
    elif first.kind == "fused":
        parts.append(f"{len(first.old)} fused into one")
    elif first.kind == "reparametrized":
        parts.append("the same weight in another parametrization")
    elif first.old_specs != first.new_specs:
        before, after = first.old_specs[0], first.new_specs[0]
        alike = all(
            each.old_specs == first.old_specs and each.new_specs == first.new_specs for each in changes
        )
        parts.append(f"{before} -> {after}" if alike else f"{before} -> {after}, ...")
        if first.kind == "head-resized" and not first.detail:
            parts.append(f"outputs {before.shape[0]} -> {after.shape[0]}")
    parts.append(first.detail)
    unsure = [change for change in changes if change.confidence != "certain"]
    ambiguous = [change for change in unsure if change.confidence == "ambiguous"]
    if ambiguous and ambiguous[0].rivals:
        parts.append("ambiguous")
    elif ambiguous:
        parts.append(_ambiguous(ambiguous))
    elif unsure:
        parts.append("likely" if len(unsure) == len(changes) else f"{len(unsure)} of them likely")
    if first.severity is Severity.WARNING and first.kind != "retyped":
        parts.append("not loaded: stays at random initialisation")
    return "   ".join(part for part in parts if part)


def _ambiguous(changes: Sequence[Change]) -> str:
    """``ambiguous, it could also be tail.weight``; in a row of several layers, with the key that could."""
    doubts = ((change, key) for change in changes for key in change.candidates if key not in change.new)
    change, rival = next(doubts, (changes[0], ""))
    if not rival:
        return "ambiguous, it could also be a new layer"
    layers = {key.rpartition(".")[0] for each in changes for key in each.old}
    subject = change.old[0] if len(layers) > 1 and len(change.old) == 1 else "it"
    became = "have kept its name" if rival in change.old else f"be {rival}"
    return f"ambiguous, {subject} could also {became}"


def _key_rows(changes: Sequence[Change], verdict: Verdict, full: bool) -> Iterator[Row]:
    """Rows of changes that concern one key each, folded: ``blocks.{6..11}.*``."""
    first = changes[0]
    owners = {key: change for change in changes for key in change.new or change.old}
    for each in [Fold(key, (key,)) for key in owners] if full else _folded(list(owners), first, verdict):
        specs = (spec for key in each.keys if (spec := _spec(owners[key], key)))
        note = _note(changes, specs, len(each.keys))
        if each.pattern == "*" and first.kind != "retyped":
            note = "   ".join(part for part in (note, _named(each.keys)) if part)
        of_pattern = [owners[key] for key in each.keys]
        if len(owners) > len(changes):  # some have several keys
            of_pattern = list({id(change): change for change in of_pattern}.values())
        yield _row(of_pattern, each.pattern, note, len(each.keys))


def _folded(keys: Sequence[str], first: Change, verdict: Verdict) -> Sequence[Fold]:
    """The keys folded; no ``head.*`` beside one of other keys on the other side, without a word."""
    ours, theirs = _keys(verdict.new), _keys(verdict.old)
    if not first.new:
        ours, theirs = theirs, ours
    folded = fold(keys, ours)
    if first.detail or bool(first.old) == bool(first.new):
        return folded
    alone = (each for each in verdict.changes if bool(each.old) != bool(each.new))
    others = dict.fromkeys(key for each in alone for key in (each.old if first.new else each.new))
    shared = {each.pattern for each in fold(list(others), theirs)} if others else set()
    if shared.isdisjoint(each.pattern for each in folded if each.pattern.endswith(".*")):
        return folded
    own = set(ours)
    return fold(keys, (*ours, *(key for key in others if key not in own)))


def _spec(change: Change, key: str) -> TensorSpec | None:
    """The spec of one of the keys, where the change tells it."""
    specs = change.new_specs or change.old_specs
    return specs[(change.new or change.old).index(key)] if specs else None


def _named(keys: Sequence[str]) -> str:
    """``(stem.weight, stem.bias, norm.weight, ...: -vv prints all)``: for a pattern that names nothing."""
    more = ", ...: -vv prints all" if len(keys) > _NAMES else ""
    return f"({', '.join(keys[:_NAMES])}{more})"


def _row(changes: Sequence[Change], subject: str, note: str, tensors: int) -> Row:
    change = changes[0]
    rule = BY_KIND[change.kind]
    severity, sign = change.severity or rule.severity, str(rule.sign)
    if severity is Severity.ACCEPTED:
        sign, note = "=", f"{note}   accepted: {change.reason}"
    if severity is Severity.EXISTING:
        sign, note = "=", f"{note}   already on {change.reason}"
    if severity is Severity.IGNORED:
        sign, note = "=", f"{note}   ignored{': ' if change.reason else ''}{change.reason}"
    shown = visible(subject) or _NO_NAME
    return Row(change.rule, severity, sign, shown, visible(note).strip(), tensors, tuple(changes))


def _note(changes: Sequence[Change], specs: Iterator[TensorSpec], number: int) -> str:
    change, first = changes[0], next(specs, None)
    one = first is not None and all(spec is first or spec == first for spec in specs)  # to the first other
    if change.kind == "retyped" and not one:
        parts = [f"{change.old_specs[0].dtype} -> {change.new_specs[0].dtype}"]
    elif change.kind == "retyped" and first:
        parts = [f"{TensorSpec(change.old_specs[0].dtype, first.shape)} -> {first}"]
    elif change.old_specs and change.new_specs:
        parts = [f"{change.old_specs[0]} -> {change.new_specs[0]}"]
    elif one and first and first.dtype != OBJECT:
        parts = [str(first)]
    else:
        parts = []
    if number > 1:
        parts.append(_number(number))
    if change.confidence == "ambiguous" and change.candidates:  # transposed, or under the name of another
        parts.append(_ambiguous(changes))
    parts.append(change.detail or _consequence(change))
    return "   ".join(part for part in parts if part)


def _consequence(change: Change) -> str:
    """What the change means where the load succeeds; "" where it raises."""
    rule = BY_KIND[change.kind]
    return rule.consequence if Severity.WARNING in (rule.severity, change.severity) else ""


def _number(number: int) -> str:
    return count(number, "tensor") if number > 1 else ""


def _keys(structure: Structure | None) -> tuple[str, ...]:
    return tuple(structure.tensors) if structure else ()
