"""Cases out of kinds, and the comparison of a case's verdict with torch's on the real file."""

from __future__ import annotations

import contextlib
import copy
import inspect
import random
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._renames.units.parametrized import parametrized
from pytest_ckpt_compat._snapshots import fingerprint
from tests.wide import constructors, hooks, looking, overrides, reading, saving, tensors, wrapped
from tests.wide.forms import FORMS, SHARES
from tests.wide.hooks import Variant

KINDS: dict[str, tuple[Variant, ...]] = {
    **hooks.KINDS,
    **overrides.KINDS,
    **tensors.KINDS,
    **wrapped.KINDS,
    **constructors.KINDS,
    **reading.KINDS,
    **looking.KINDS,
    **saving.KINDS,
}

#: More kinds, which come up among cases of every other.
NO_TENSOR = "any: a file without tensors"
NOTHING_LOADS = "any: nothing loads"
IMAGINARY = "any: imaginary parts are lost"
SNAPSHOT = "any: from a snapshot"
OWN_SAVING = "any: a module that saves by code"

_LISTED = re.compile(r"(?:Missing|Unexpected) key\(s\) in state_dict: (.*)")
_T = TypeVar("_T")

Word = Literal["agreed", "disagreed", "unchecked", "crashed", "no numbers", "no case"]

#: Kinds whose verdict is not always torch's, or not always there, and why. Every other kind agrees.
KNOWN: dict[str, str] = {
    SNAPSHOT: "it does not keep which tensors are views of one storage",
    OWN_SAVING: "only their code knows what they save, and no code in a file runs",
}


@dataclass(frozen=True)
class Case:
    """An old and a new definition. Its text names the call that makes it again: ``case(kind, seed)``.

    Attributes:
        kind: one of ``KINDS``.
        seed: the number of the case in its kind.
        old: makes the module whose checkpoint is saved.
        new: makes the module that it is loaded into.
        real: makes it with tensors, if ``new`` makes it without.
        strict: as in ``load_state_dict``.
        instance: whether the definition is an instance of the new module.
        form: how the checkpoint is saved, one of ``FORMS``.
        recorded: whether a snapshot is judged after the file.
        text: the case in words.
    """

    kind: str
    seed: int
    old: Callable[[], nn.Module]
    new: Callable[[], nn.Module]
    real: Callable[[], nn.Module]
    strict: bool
    instance: bool
    form: str
    recorded: bool
    text: str


@dataclass(frozen=True)
class Found:
    """How our verdict compares with torch's, in which kind it counts, and what differs.

    ``no numbers``: a snapshot does not keep what decides, and the verdict says so.
    """

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
    form = rng.choices(list(SHARES), list(SHARES.values()))[0]
    recorded, meta = rng.random() < 0.25, rng.random() < 0.04
    old = _within(name, variants[sides[0][0]], sides[0][1], "")
    new = _within(name, variants[sides[1][0]], sides[1][1], edit)
    how = f"in {name!r} {edit}, {strict=}, {instance=}, {form=}, {recorded=}, {meta=}"
    text = f"case({kind!r}, {seed}): variant and size {sides[0]} -> {sides[1]}, {how}"
    made = _on_meta(new) if meta else new
    return Case(kind, seed, old, made, new, strict, instance, form, recorded, text)


def _on_meta(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A definition that builds itself without weights, to be given them later."""

    def without_weights() -> nn.Module:
        with torch.device("meta"):
            return make()

    return without_weights


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
    form = FORMS[case.form]
    with _quiet():
        try:
            form.save(_seeded(case.old), path)
            state = form.load(path)
        except Exception as error:
            return Found("no case", case.kind, f"torch saves no checkpoint: {_brief(error)}")
        torchs = _torchs_word(case, state)
        kind = torchs.kind or case.kind
        try:
            model = _seeded(case.new) if case.instance and torchs.loads is not None else case.new
            verdict = _seeded(lambda: ckpt.check(path, model, strict=case.strict, **form.options))
        except BuildError as error:
            return Found("agreed" if torchs.loads is None else "unchecked", kind, str(error))
        except CkptCompatError as error:
            by_code = case.form == "whole" and "saves by code of its own" in error.problem
            return Found("unchecked", OWN_SAVING if by_code else kind, str(error))
        except Exception as error:
            return Found("crashed", kind, _brief(error))
    ours = "; ".join(f"{change.kind} {change.detail}" for change in verdict.changes) or "nothing"
    if verdict.compatible is not torchs.loads:
        return Found("disagreed", kind, f"torch: {torchs.why}; ours: {ours}")
    shown = {key for change in verdict.changes for key in (*change.old, *change.new)}
    if not torchs.keys <= shown and not torchs.keys <= shown | _kept_in_parts(case, shown):
        return Found("disagreed", kind, f"not shown: {sorted(torchs.keys - shown)}; ours: {ours}")
    return _from_a_snapshot(case, path, model, verdict) if case.recorded else Found("agreed", kind)


def _kept_in_parts(case: Case, shown: set[str]) -> set[str]:
    """The parameters of which parts are shown: a hook may ask for one by a key that no state_dict has."""
    with _quiet():
        parts = parametrized(ckpt.define(case.new).tensors)
    return {each.parameter for key, each in parts.items() if key in shown}


def _from_a_snapshot(case: Case, path: Path, model: Any, verdict: ckpt.Verdict) -> Found:
    """Compares the verdict on the file's snapshot with that on the file."""
    options = FORMS[case.form].options
    policy = Policy(strict=case.strict)
    with _quiet():
        try:
            text = fingerprint.dumps(ckpt.read(path, options.get("key")))
            structure, definition = fingerprint.loads(text, "model.json"), find(model)
            prefix = options.get("strip_prefix")
            found = _seeded(lambda: check_structure(structure, definition, policy, prefix))
        except CkptCompatError as error:
            return Found("no numbers", SNAPSHOT, str(error))
        except Exception as error:
            return Found("crashed", SNAPSHOT, _brief(error))
    if found.compatible is verdict.compatible:
        return Found("agreed", SNAPSHOT)
    ours = "; ".join(f"{change.kind} {change.detail}" for change in found.changes) or "nothing"
    return Found("disagreed", SNAPSHOT, f"the file: {verdict.compatible}; its snapshot: {ours}")


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
    kind = "" if any(map(_holds, state.values())) else NO_TENSOR
    try:
        module = _seeded(case.new)
    except Exception as error:
        return _Torchs(None, _brief(error), kind=kind)
    try:
        _load_into(module, copy.copy(state), case.strict)
    except Exception as error:
        keys = [key for line in _LISTED.findall(str(error)) for key in re.findall(r'"([^"]+)"', line)]
        return _Torchs(False, _brief(error), frozenset(keys), kind)
    with contextlib.suppress(Exception):
        if not kind and _brings_nothing(case, state):
            return _Torchs(False, "nothing is loaded, and torch is silent", kind=NOTHING_LOADS)
    if any(_is_cut(value, _contents(module).get(key)) for key, value in state.items()):
        return _Torchs(False, "imaginary parts are lost, and torch at most warns", kind=IMAGINARY)
    return _Torchs(True, "loads", kind=kind)


def _load_into(module: nn.Module, state: Any, strict: bool) -> Any:
    parameters = inspect.signature(module.load_state_dict).parameters.values()
    takes = any(each.name == "strict" or each.kind is each.VAR_KEYWORD for each in parameters)
    return module.load_state_dict(state, **({"strict": strict} if takes else {}))


def _brings_nothing(case: Case, state: Any) -> bool:
    """Whether a load, which raises nothing, leaves the module as it was, or as other numbers do."""
    module = _seeded(case.real)
    before = _contents(module)
    for key in [key for key in before if key.endswith("num_batches_tracked") and key not in state]:
        del before[key]  # torch fills in this counter, where a file is so old that it lacks it
    filled = _is_filled(state)
    result = _load_into(module, copy.copy(state), case.strict)
    if not before or before.keys() <= set(getattr(result, "missing_keys", ())):
        return bool(before)
    after = _contents(module)
    return filled and (_unchanged(before, after) or _unchanged(after, _with_other_numbers(case, state)))


def _is_cut(saved: Any, loaded: torch.Tensor | None) -> bool:
    """Whether complex numbers were loaded into what holds none."""
    is_complex = isinstance(saved, torch.Tensor) and saved.is_complex()
    return is_complex and loaded is not None and not loaded.is_complex()


def _with_other_numbers(case: Case, state: Any) -> Mapping[str, Any]:
    """What a load of the same tensors with other numbers leaves in the module; {} if it raises."""
    other = copy.copy(state)
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            other[key] = torch.zeros_like(value)
    module = _seeded(case.real)
    with contextlib.suppress(Exception):
        _load_into(module, other, case.strict)
        return _contents(module)
    return {}


def _is_filled(state: Any) -> bool:
    """Whether every tensor could be filled: some dtypes and layouts cannot."""
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor)]
    with contextlib.suppress(Exception):
        return all(each.dtype is torch.bool or bool((each.float() == 7).all()) for each in tensors)
    return False


def _contents(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """Copies of the tensors that a module saves and that are not empty; None for what cannot be copied."""
    found: dict[str, torch.Tensor | None] = {}
    entries: dict[str, Any] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with contextlib.suppress(Exception):
        entries = module.state_dict()
    for key, value in entries.items():
        if _holds(value) or (isinstance(value, torch.Tensor) and is_lazy(value)):
            found[key] = None
            with contextlib.suppress(Exception):  # of a layout or dtype that cannot be copied
                found[key] = value.detach().clone()
    return found


def _holds(value: Any) -> bool:
    """Whether a value is a tensor with numbers."""
    return isinstance(value, torch.Tensor) and not is_lazy(value) and value.numel() > 0


def _unchanged(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    try:
        return all(torch.equal(value, after[key]) for key, value in before.items())
    except Exception:  # of a layout or dtype that cannot be compared
        return False


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
