"""Averaged weights in a checkpoint: a run that is resumed loads them, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._check import wrapper as wrappers
from pytest_ckpt_compat._check.wrapped import AVERAGED
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.heads import WORD
from pytest_ckpt_compat._core.structure import SNAPSHOT, Structure, TensorSpec

#: Words in the names of averaged weights: ``ema``, ``state_dict_ema``, ``swa_model``, ``modelEMA``.
_WORDS = frozenset({"ema", "swa", "avg", "average", "averaged", "polyak"})
#: What is kept beside averaged weights, or among them.
_KEPT = frozenset({"decay", "ema_decay", AVERAGED})


def averaged(structure: Structure) -> Iterator[Change]:
    """The averaged weights of a checkpoint that do not have the tensors of the checkpoint's own model.

    That they are averaged, their name says, or what is kept beside them: another model of the same design, as
    a teacher is, may have other sizes.

    Args:
        structure: the checkpoint's own model, with the plain values of its file.
    """
    for name, split, theirs in _copies(structure):
        change = _compared(name, split, theirs, structure.tensors)
        if change is not None and _is_average(name, structure.values):
            yield change


def copies(structure: Structure) -> tuple[str, ...]:
    """The names of the other state_dicts in a checkpoint's file that have most of the model's keys."""
    return tuple(name for name, _, _ in _copies(structure))


def _copies(structure: Structure) -> Iterator[tuple[str, compare.Sides, Mapping[str, TensorSpec]]]:
    """The copies of the model in its file: name, keys beside the model's, and tensors without a prefix."""
    own, source = structure.source.container, structure.source
    if source.format == SNAPSHOT or not own or source.parts or "://" in source.path:
        return
    for name, value in structure.values.items():
        if name == own.split(".")[0] or not isinstance(value, Mapping):
            continue
        inner = (f"{name}.{each}" for each, held in value.items() if isinstance(held, Mapping))
        for path in (str(name), *inner):
            with contextlib.suppress(CkptCompatError):
                theirs = _bare(readers.read(source.path, path), structure)
                split = compare.sides(theirs, structure.tensors)
                if 2 * len(split.both) >= len(structure.tensors):
                    yield path, split, theirs
                    break


def _bare(other: Structure, own: Structure) -> dict[str, TensorSpec]:
    """The tensors of a state_dict, without a prefix that the model's keys do not have."""
    keys = {key: spec for key, spec in other.tensors.items() if key != AVERAGED}
    wrapper = wrappers.by_prefix(keys, own.tensors)
    prefix = wrapper.prefix if wrapper and wrapper.on_checkpoint else ""
    return {key.removeprefix(prefix): spec for key, spec in keys.items()}


def _compared(
    name: str, split: compare.Sides, theirs: Mapping[str, TensorSpec], own: Mapping[str, TensorSpec]
) -> Change | None:
    """The change for a copy that has not all of the model's keys and shapes."""
    resized = [key for key in split.both if not compare.fits(theirs[key], own[key])]
    if not (resized or split.old_only or split.new_only):
        return None
    facts = []
    if resized:
        first = f"{resized[0]} {theirs[resized[0]]} instead of {own[resized[0]]}"
        facts.append(f"{count(len(resized), 'tensor')} of another shape ({first})")
    facts += [f"{count(len(each), 'tensor')} {word} ({each[0]})" for each, word in _absent(split) if each]
    return Change(
        "optimizer-mismatch",
        detail=f"{name} has the keys of the model, with {', '.join(facts)}: a resume loads it, too",
        advice=f"convert {name} as you convert the model, or start it anew from the model's weights",
    )


def _is_average(path: str, values: Mapping[str, Any]) -> bool:
    words = {word.lower() for word in WORD.findall(path)}
    held = values.get(path.partition(".")[0], values.get(path, {}))
    kept = {str(key).rpartition(".")[2] for key in held}
    return bool(words & _WORDS or kept & _KEPT)


def _absent(split: compare.Sides) -> tuple[tuple[tuple[str, ...], str], ...]:
    return (split.new_only, "missing"), (split.old_only, "unexpected")
