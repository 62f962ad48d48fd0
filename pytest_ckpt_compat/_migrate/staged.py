"""Migrations as transformers carries them out: keys are renamed in sequence first, then tensors converted.

A converter of transformers replaces a part of a key and keeps what stands around it. So the keys of an
operation are first renamed to what surrounds its result, with their own last names, which the converter
replaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_ckpt_compat._migrate.steps import MOVE, Op, Step


@dataclass(frozen=True)
class Converter:
    """One ``WeightConverter``.

    Attributes:
        op: the operation.
        sources: patterns of the parts of keys that are replaced.
        targets: what they are replaced by.
    """

    op: Op
    sources: tuple[str, ...]
    targets: tuple[str, ...]


def staged(step: Step, context: int = 0) -> tuple[tuple[Step, ...], Converter] | None:
    """The renames that come before an operation, and its converter; None if transformers has none for it.

    Args:
        step: the operation.
        context: how many segments the converter names besides, of those before what it replaces.
    """
    if step.op == Op("permute", (1, 0)):
        return _transposed(step, context)
    if step.op.name in ("chunk", "split"):
        return _divided(step, context)
    if step.op.name == "cat":
        return _joined(step, context)
    if step.op.name == "stack":
        return _stacked(step, context)
    return None


def _moves(old: Sequence[str], new: Iterable[Sequence[str]]) -> tuple[Step, ...]:
    return tuple(Step(MOVE, (one,), (".".join(other),)) for one, other in zip(old, new, strict=True))


def _suffix(keys: Sequence[Sequence[str]]) -> int:
    """How many last segments all keys share, leaving each one at least."""
    number = 0
    while number < min(map(len, keys)) - 1 and len({tuple(key[-1 - number :]) for key in keys}) == 1:
        number += 1
    return number


def _prefix(keys: Sequence[Sequence[str]], most: int) -> int:
    number = 0
    while number < most and len({tuple(key[: number + 1]) for key in keys}) == 1:
        number += 1
    return number


def _bounded(middle: Sequence[str], inside: bool, more: bool) -> str:
    return ("." if inside else "") + ".".join(middle) + ("." if more else "")


def _pattern(middle: Sequence[str], inside: bool, more: bool) -> str:
    escaped = r"\.".join(map(re.escape, middle))
    return (r"\." if inside else "^") + escaped + (r"\." if more else "$")


def _around(before: Sequence[str], context: int) -> list[str]:
    """The last segments before what is replaced."""
    return list(before[len(before) - min(context, len(before)) :])


def _transposed(step: Step, context: int) -> tuple[tuple[Step, ...], Converter]:
    new = step.new[0].split(".")
    last = new[-2 - context :]
    inside = len(new) > len(last)
    converter = Converter(step.op, (_pattern(last, inside, False),), (_bounded(last, inside, False),))
    return _moves(step.old, [new]), converter


def _divided(step: Step, context: int) -> tuple[tuple[Step, ...], Converter]:
    whole, parts = step.old[0].split("."), [key.split(".") for key in step.new]
    end = _suffix([whole, *parts])
    start = _prefix(parts, min(map(len, parts)) - end - 1)
    own, more = whole[len(whole) - end - 1 : len(whole) - end], end > 0
    named = _around(parts[0][:start], context)
    inside = start > len(named)
    middles = [part[start : len(part) - end] for part in parts]
    key = [*parts[0][:start], *own, *parts[0][len(parts[0]) - end :]]
    targets = tuple(_bounded([*named, *middle], inside, more) for middle in middles)
    return _moves(step.old, [key]), Converter(step.op, (_pattern([*named, *own], inside, more),), targets)


def _joined(step: Step, context: int) -> tuple[tuple[Step, ...], Converter]:
    parts, whole = [key.split(".") for key in step.old], step.new[0].split(".")
    end = _suffix([whole, *parts])
    start = _prefix(parts, min(map(len, parts)) - end - 1)
    around, own = whole[: len(whole) - end - 1], whole[len(whole) - end - 1 : len(whole) - end]
    middles = [part[start : len(part) - end] for part in parts]
    keys = [[*around, *middle, *whole[len(whole) - end :]] for middle in middles]
    named = _around(around, context)
    inside, more = len(around) > len(named), end > 0
    sources = tuple(_pattern([*named, *middle], inside, more) for middle in middles)
    return _moves(step.old, keys), Converter(step.op, sources, (_bounded([*named, *own], inside, more),))


def _stacked(step: Step, context: int) -> tuple[tuple[Step, ...], Converter] | None:
    each = step.op.numbers[1]
    parts, whole = [key.split(".") for key in step.old], step.new[0].split(".")
    place = _prefix(parts, min(map(len, parts)) - 1)
    numbers = [part[place] for part in parts]
    counted = [str(n) for n in range(len(parts) // each) for _ in range(each)]
    if numbers != counted or len(whole) < 2:
        return None
    around, rests = whole[:-1], [part[place + 1 :] for part in parts]
    if any(not rest for rest in rests):
        return None
    keys = [[*around, number, *rest] for number, rest in zip(numbers, rests, strict=True)]
    named = _around(around, context + 1)
    inside = len(around) > len(named)
    start = (r"\." if inside else "^") + r"\.".join(map(re.escape, named))
    sources = tuple(f"{start}.*.{re.escape('.'.join(rest))}" for rest in rests[:each])
    target = _bounded([*named, whole[-1]], inside, False)
    return _moves(step.old, keys), Converter(step.op, sources, (target,))
