"""Cases out of kinds, and the comparison of a case's verdict with torch's on the real file."""

from __future__ import annotations

import contextlib
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError
from tests.wide import constructors, hooks, overrides, tensors, wrapped
from tests.wide.hooks import Variant

KINDS: dict[str, tuple[Variant, ...]] = {
    **hooks.KINDS,
    **overrides.KINDS,
    **tensors.KINDS,
    **wrapped.KINDS,
    **constructors.KINDS,
}

Word = Literal["agreed", "disagreed", "unchecked", "crashed", "no case"]

#: Kinds whose verdict is not always torch's, or not always there, and why. Every other kind agrees.
KNOWN: dict[str, str] = {}


@dataclass(frozen=True)
class Case:
    """An old and a new definition. What is printed of it makes it again: ``case(kind, seed)``."""

    kind: str
    seed: int
    old: Callable[[], nn.Module]
    new: Callable[[], nn.Module]
    strict: bool
    text: str


@dataclass(frozen=True)
class Found:
    """How our verdict compares with torch's, and why it could not be compared."""

    word: Word
    detail: str = ""


def case(kind: str, seed: int) -> Case:
    """The case of a kind that a seed stands for."""
    rng = random.Random(f"{kind} {seed}")
    variants = KINDS[kind]
    sides = [(rng.randrange(len(variants)), rng.choice((1, 2, 2, 3, 4)))]
    sides.append(
        (
            sides[0][0] if rng.random() < 0.5 else rng.randrange(len(variants)),
            sides[0][1] if rng.random() < 0.7 else rng.choice((1, 2, 3, 4)),
        )
    )
    name = rng.choice(("", "", "body", "0", "a.b"))
    edit = rng.choice(("", "", "", "", "rename", "drop", "add")) if name else ""
    strict = rng.random() < 0.75
    makers = [
        _within(name, variants[variant], size, edit if new else "")
        for new, (variant, size) in enumerate(sides)
    ]
    text = f"case({kind!r}, {seed}): variant and size {sides[0]} -> {sides[1]}, in {name!r} {edit}, {strict=}"
    return Case(kind, seed, makers[0], makers[1], strict, text)


def _within(name: str, variant: Variant, size: int, edit: str) -> Callable[[], nn.Module]:
    """The module itself, or in a tree: under a dotted name, before a layer."""

    def make() -> nn.Module:
        if not name:
            return variant(size)
        inner: nn.Module = variant(size)
        for part in reversed((f"{name}2" if edit == "rename" else name).split(".")):
            outer = nn.Module()
            outer.add_module(part, inner)
            inner = outer
        if edit != "drop":
            inner.add_module("head", nn.Linear(2, 3))
        if edit == "add":
            inner.add_module("tail", nn.Linear(2, 1))
        return inner

    return make


def compare(case: Case, path: Path) -> Found:
    """Saves the old definition's checkpoint at ``path``, and compares our verdict on it with torch's."""
    with _quiet():
        try:
            torch.save(_seeded(case.old).state_dict(), path)
            state = _load(path)
        except Exception as error:
            return Found("no case", f"torch saves no checkpoint: {_brief(error)}")
        loads, why = _torchs_word(case, state)
        random.seed(0)
        torch.manual_seed(0)
        try:
            verdict = ckpt.check(path, case.new, strict=case.strict)
        except BuildError as error:
            return Found("agreed" if loads is None else "unchecked", str(error))
        except CkptCompatError as error:
            return Found("unchecked", str(error))
        except Exception as error:
            return Found("crashed", _brief(error))
    if loads is None:
        return Found("disagreed", f"torch does not build it ({why}), we say compatible={verdict.compatible}")
    if verdict.compatible is loads:
        return Found("agreed")
    ours = "; ".join(f"{change.kind} {change.detail}" for change in verdict.changes) or "nothing"
    return Found("disagreed", f"torch: {why}; ours: {ours}")


def _torchs_word(case: Case, state: Any) -> tuple[bool | None, str]:
    """Whether the state_dict loads, and why not; None if the definition cannot be built."""
    try:
        module = _seeded(case.new)
    except Exception as error:
        return None, _brief(error)
    keys: set[str] = set()
    with contextlib.suppress(Exception):
        keys = set(module.state_dict())
    try:
        result = module.load_state_dict(state, *([] if case.strict else [False]))
    except TypeError as error:
        if "positional argument" not in str(error) or case.strict:
            return False, _brief(error)
        return _torchs_word(Case(case.kind, case.seed, case.old, case.new, True, case.text), state)
    except Exception as error:
        return False, _brief(error)
    missing = set(getattr(result, "missing_keys", ()))
    if keys and keys <= missing and not case.strict:
        return False, "nothing is loaded, which torch takes without strict"
    return True, "loads"


def _load(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True)
    except pickle.UnpicklingError:  # classes that the user has to trust
        return torch.load(path, weights_only=False)


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    random.seed(0)
    torch.manual_seed(0)
    dtype = torch.get_default_dtype()
    grad = torch.is_grad_enabled()
    try:
        return make()
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' '.join(line.strip() for line in lines[:2])}"
