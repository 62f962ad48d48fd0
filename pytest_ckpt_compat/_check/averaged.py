"""Averaged weights in a checkpoint: a run that is resumed loads them, too."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._check import wrapper as wrappers
from pytest_ckpt_compat._check.wrapped import AVERAGED
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.structure import SNAPSHOT, Structure

#: How projects name averaged weights: ``ema``, ``state_dict_ema``, ``swa_model``, ``averaged_model``.
_NAME = re.compile(r"(^|[_.])(ema|swa)([_.]|$)|averaged", re.IGNORECASE)


def averaged(structure: Structure) -> Iterator[Change]:
    """The averaged weights of a checkpoint that do not have the tensors of the checkpoint's own model.

    Whatever its name, another state_dict with most of the model's keys is a copy of it.

    Args:
        structure: the checkpoint's own model, with the plain values of its file.
    """
    own = structure.source.container
    source = structure.source
    if source.format == SNAPSHOT or not own or source.parts or "://" in source.path:
        return
    for name, value in structure.values.items():
        if name == own.split(".")[0] or not isinstance(value, Mapping):
            continue
        with contextlib.suppress(CkptCompatError):
            change = _compared(str(name), readers.read(structure.source.path, str(name)), structure)
            if change is not None:
                yield change


def _compared(name: str, other: Structure, own: Structure) -> Change | None:
    """The change for a state_dict that has most of the model's keys, but not all of its shapes."""
    keys = {key: spec for key, spec in other.tensors.items() if key != AVERAGED}
    wrapper = wrappers.by_prefix(keys, own.tensors)
    prefix = wrapper.prefix if wrapper and wrapper.on_checkpoint else ""
    theirs = {key.removeprefix(prefix): spec for key, spec in keys.items()}
    split = compare.sides(theirs, own.tensors)
    resized = [key for key in split.both if not compare.fits(theirs[key], own.tensors[key])]
    if 2 * len(split.both) < len(own.tensors) or not (resized or split.old_only or split.new_only):
        return None
    facts = []
    if resized:
        first = f"{resized[0]} {theirs[resized[0]]} instead of {own.tensors[resized[0]]}"
        facts.append(f"{count(len(resized), 'tensor')} of another shape ({first})")
    facts += [f"{count(len(each), 'tensor')} {word} ({each[0]})" for each, word in _absent(split) if each]
    return Change(
        "optimizer-mismatch",
        detail=f"{name} has the keys of the model, with {', '.join(facts)}: {_use(name)}",
        advice=f"convert {name} as you convert the model, or start it anew from the model's weights",
    )


def _use(name: str) -> str:
    return "a resume loads it, too" if _NAME.search(name) else "a resume that loads it fails"


def _absent(split: compare.Sides) -> tuple[tuple[tuple[str, ...], str], ...]:
    return (split.new_only, "missing"), (split.old_only, "unexpected")
