"""Cases out of kinds, and the comparison of a case's verdict with torch's on the real file."""

from __future__ import annotations

import contextlib
import inspect
import pickle
import random
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

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

#: Two more kinds, which come up among cases of every other.
NO_TENSOR = "any: a file without tensors"
NOTHING_LOADS = "any: nothing loads"

_LISTED = re.compile(r"(?:Missing|Unexpected) key\(s\) in state_dict: (.*)")
_T = TypeVar("_T")

Word = Literal["agreed", "disagreed", "unchecked", "crashed", "no case"]

#: Kinds whose verdict is not always torch's, or not always there, and why. Every other kind agrees.
KNOWN: dict[str, str] = {
    "state_dict: no arguments": "within another module, torch itself cannot call it, and state_dict() raises",
    "tensor: expanded": "an instance's own copy can be written to where the instance cannot",
    **dict.fromkeys(
        (
            "tensor: quantized per channel",
            "lazy: linear",
            "lazy: convolution",
            "lazy: batch norm",
            "extra state: tensor",
        ),
        "a lenient load of another prefix: that nothing was loaded is not always seen as torch leaves it",
    ),
}


@dataclass(frozen=True)
class Case:
    """An old and a new definition. Its text names the call that makes it again: ``case(kind, seed)``."""

    kind: str
    seed: int
    old: Callable[[], nn.Module]
    new: Callable[[], nn.Module]
    strict: bool
    instance: bool
    text: str


@dataclass(frozen=True)
class Found:
    """How our verdict compares with torch's, in which kind it counts, and what differs."""

    word: Word
    kind: str
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
    edit = rng.choice(("", "", "", "", "rename", "drop", "add", "wrap")) if name else ""
    strict, instance = rng.random() < 0.75, rng.random() < 0.15
    makers = [
        _within(name, variants[variant], size, edit if new else "")
        for new, (variant, size) in enumerate(sides)
    ]
    sizes = f"variant and size {sides[0]} -> {sides[1]}"
    text = f"case({kind!r}, {seed}): {sizes}, in {name!r} {edit}, {strict=}, {instance=}"
    return Case(kind, seed, makers[0], makers[1], strict, instance, text)


def _within(name: str, variant: Variant, size: int, edit: str) -> Callable[[], nn.Module]:
    """The module itself, or in a tree: under a dotted name, before a layer."""

    def make() -> nn.Module:
        if not name:
            return variant(size)
        module = _under(f"{name}2" if edit == "rename" else name, variant(size))
        if edit != "drop":
            module.add_module("head", nn.Linear(2, 3))
        if edit == "add":
            module.add_module("tail", nn.Linear(2, 1))
        return _under("module", module) if edit == "wrap" else module

    return make


def _under(name: str, module: nn.Module) -> nn.Module:
    for part in reversed(name.split(".")):
        outer = nn.Module()
        outer.add_module(part, module)
        module = outer
    return module


def compare(case: Case, path: Path) -> Found:
    """Saves the old definition's checkpoint at ``path``, and compares our verdict on it with torch's."""
    with _quiet():
        try:
            torch.save(_filled(_seeded(case.old).state_dict()), path)
            state = _load(path)
        except Exception as error:
            return Found("no case", case.kind, f"torch saves no checkpoint: {_brief(error)}")
        torchs = _torchs_word(case, state)
        kind = torchs.kind or case.kind
        try:
            model = _seeded(case.new) if case.instance and torchs.loads is not None else case.new
            verdict = _seeded(lambda: ckpt.check(path, model, strict=case.strict))
        except BuildError as error:
            return Found("agreed" if torchs.loads is None else "unchecked", kind, str(error))
        except CkptCompatError as error:
            return Found("unchecked", kind, str(error))
        except Exception as error:
            return Found("crashed", kind, _brief(error))
    ours = "; ".join(f"{change.kind} {change.detail}" for change in verdict.changes) or "nothing"
    if verdict.compatible is not torchs.loads:
        return Found("disagreed", kind, f"torch: {torchs.why}; ours: {ours}")
    shown = {key for change in verdict.changes for key in (*change.old, *change.new)}
    if not torchs.keys <= shown:
        return Found("disagreed", kind, f"not shown: {sorted(torchs.keys - shown)}; ours: {ours}")
    return Found("agreed", kind)


@dataclass(frozen=True)
class _Torchs:
    """What torch finds: whether it loads, None if the definition cannot be built; and which keys do not.

    ``kind`` is one of those that come up among cases of every kind, or "".
    """

    loads: bool | None
    why: str
    keys: frozenset[str] = frozenset()
    kind: str = ""


def _torchs_word(case: Case, state: Any) -> _Torchs:
    kind = "" if any(isinstance(value, torch.Tensor) for value in state.values()) else NO_TENSOR
    try:
        module = _seeded(case.new)
    except Exception as error:
        return _Torchs(None, _brief(error), kind=kind)
    before = _contents(module)
    parameters = inspect.signature(module.load_state_dict).parameters.values()
    strict = {"strict": case.strict}
    if not any(each.name == "strict" or each.kind is each.VAR_KEYWORD for each in parameters):
        strict = {}
    try:
        result = module.load_state_dict(state, **strict)
    except Exception as error:
        keys = [key for line in _LISTED.findall(str(error)) for key in re.findall(r'"([^"]+)"', line)]
        return _Torchs(False, _brief(error), frozenset(keys), kind)
    none = before.keys() <= set(getattr(result, "missing_keys", ()))
    if before and not kind and (none or (_is_filled(state) and _unchanged(before, _contents(module)))):
        return _Torchs(False, "nothing is loaded, and torch is silent", kind=NOTHING_LOADS)
    return _Torchs(True, "loads", kind=kind)


def _filled(state: Any) -> Any:
    """The state_dict, its tensors filled with a number that no newly built module has."""
    for value in state.values():
        with contextlib.suppress(Exception), torch.no_grad():
            value.fill_(7)
    return state


def _is_filled(state: Any) -> bool:
    """Whether every tensor could be filled: some dtypes and layouts cannot."""
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor)]
    with contextlib.suppress(Exception):
        return all(each.dtype is torch.bool or bool((each.float() == 7).all()) for each in tensors)
    return False


def _contents(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of a module's tensors that are not empty; none if it gives no state_dict."""
    found: dict[str, torch.Tensor] = {}
    with contextlib.suppress(Exception):
        for key, value in module.state_dict().items():
            if isinstance(value, torch.Tensor) and value.numel():
                found[key] = value.detach().clone()
    return found


def _unchanged(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    try:
        return all(torch.equal(value, after[key]) for key, value in before.items())
    except Exception:  # of a layout or dtype that cannot be compared
        return False


def _load(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True)
    except pickle.UnpicklingError:  # classes that the user has to trust
        return torch.load(path, weights_only=False)


def _seeded(make: Callable[[], _T]) -> _T:
    """What ``make`` makes of equal random numbers; it changes no setting of torch."""
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
