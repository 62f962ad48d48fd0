"""Writes a migration as transformers' tables have it: ``WeightRenaming`` and ``WeightConverter``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._migrate import body, python
from pytest_ckpt_compat._migrate.body import Written
from pytest_ckpt_compat._migrate.sequence import Replacement, in_sequence
from pytest_ckpt_compat._migrate.staged import Converter, staged
from pytest_ckpt_compat._migrate.steps import COPY, DROP, MOVE, Op, Step

_MODULE = "transformers.core_model_loading"
#: Most segments that a converter names besides what it replaces.
_MOST_CONTEXT = 8


def text_of(written: Written, steps: Sequence[Step], keys: Sequence[str]) -> str:
    """The table ``CONVERSIONS``.

    Raises:
        RulesError: renames that are applied in turn cannot give the keys.
    """
    moves, converters, remarks = _divided(steps, keys)
    replacements = in_sequence(moves, keys)
    names = {"WeightRenaming"} if replacements else set()
    names |= {name for each in converters for name in ("WeightConverter", *_classes(each.op))}
    lines = [*python.comment(written.title), *body.decisions(written)]
    doubts = dict.fromkeys(f"in doubt: {why}" for why in written.cautions.values())
    said = (*remarks, *doubts, *(f"not proven: {why}" for why in written.unproven.values()))
    lines += [line for each in said for line in python.comment(each)]
    lines += [*_likely(written)]
    lines += ["", *_import(sorted(names)), ""] if names else [""]
    entries = [line for each in replacements for line in _renaming(each)]
    entries += [line for each in converters for line in _converter(each)]
    lines += ["CONVERSIONS = [", *entries, "]"] if entries else ["CONVERSIONS = []"]
    return body.texts(lines).lstrip("\n")


def _divided(steps: Iterable[Step], keys: Sequence[str]) -> tuple[list[Step], list[Converter], list[str]]:
    """The renames, the converters after them, and remarks on what transformers does or cannot do itself."""
    moves: list[Step] = []
    operations: list[Step] = []
    remarks: dict[str, None] = {}
    for step in steps:
        if step.op == MOVE:
            moves.append(step)
        elif step.op == DROP:
            remarks["transformers ignores what the model has no use for, and says so"] = None
        elif step.op == COPY:
            remarks["transformers ties the tied tensors itself"] = None
        elif staged(step) is not None:
            operations.append(step)
        else:
            remarks[f"not proven: transformers has no operation for {step.old[0]}"] = None
    before, converters = _converters(operations, moves, keys)
    return [*moves, *before], converters, list(remarks)


def _converters(
    operations: Sequence[Step], moves: Sequence[Step], keys: Sequence[str]
) -> tuple[list[Step], list[Converter]]:
    """The renames and converters of operations, each with as much context as tells its keys apart."""
    contexts = dict.fromkeys(operations, 0)
    for _ in range(_MOST_CONTEXT):
        found = {step: staged(step, context) for step, context in contexts.items()}
        before = [move for each in found.values() if each is not None for move in each[0]]
        final = {key: key for key in keys} | {step.old[0]: step.new[0] for step in (*moves, *before)}
        owners: dict[Converter, list[Step]] = {}
        for step, each in found.items():
            if each is not None:
                owners.setdefault(each[1], []).append(step)
        wide = [step for each, own in owners.items() if _takes_others(each, own, final) for step in own]
        if not wide:
            break
        for step in wide:
            contexts[step] += 1
    return before, list(owners)


def _takes_others(converter: Converter, own: Sequence[Step], final: Mapping[str, str]) -> bool:
    """Whether a converter matches a key that none of its operations is about."""
    pattern = re.compile("|".join(f"(?:{source.replace('*.', '.*[.]')})" for source in converter.sources))
    taken = {key for step in own for key in step.old}
    return any(pattern.search(new) for key, new in final.items() if key not in taken)


def _likely(written: Written) -> Iterator[str]:
    for each in written.doubtful:
        yield from body.likely(each, 0)
        first = each.rule.steps[0]
        yield f"# {visible(first.old[0])} -> {visible(', '.join(first.new))}"


def _import(names: Sequence[str]) -> list[str]:
    line = f"from {_MODULE} import {', '.join(names)}"
    if len(line) <= python.WIDTH:
        return [line]
    return [f"from {_MODULE} import (", *(f"    {name}," for name in names), ")"]


def _renaming(each: Replacement) -> list[str]:
    source, target = python.raw(each.source), python.raw(each.target)
    line = f"    WeightRenaming({source}, {target}),"
    if len(line) <= python.WIDTH:
        return [line]
    return ["    WeightRenaming(", f"        {source},", f"        {target},", "    ),"]


def _converter(each: Converter) -> Iterator[str]:
    yield "    WeightConverter("
    yield from _texts(each.sources)
    yield from _texts(each.targets)
    calls = ", ".join(_calls(each.op))
    yield f"        operations=[{calls}],"
    yield "    ),"


def _texts(texts: Sequence[str]) -> list[str]:
    line = f"        [{', '.join(map(python.raw, texts))}],"
    if len(line) <= python.WIDTH:
        return [line]
    return ["        [", *(f"            {python.raw(text)}," for text in texts), "        ],"]


def _classes(op: Op) -> list[str]:
    return [call.partition("(")[0] for call in _calls(op)]


def _calls(op: Op) -> list[str]:
    """The operations of transformers, as they are called."""
    if op.name == "permute":
        return ["Transpose(0, 1)"]
    if op.name == "stack":
        dim, each, inner = op.numbers
        return [f"MergeModulelist(dim={dim})"] + ([f"Concatenate(dim={inner + 1})"] if each > 1 else [])
    name = {"chunk": "Chunk", "split": "Split", "cat": "Concatenate"}[op.name]
    return [f"{name}(dim={op.numbers[0]})"]
