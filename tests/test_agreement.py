"""Our verdict is torch's: what ``load_state_dict`` does with real tensors, we say without them."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy, Severity
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._snapshots import fingerprint
from tests.effort import examples
from tests.random_models import Recipe, build, edits, recipes
from tests.wide import cases as wide


def _takes_the_first() -> bool:
    target = nn.Module()
    target.register_buffer("a", torch.zeros(()))
    try:
        target.load_state_dict({"a": torch.ones(2)})
    except RuntimeError:
        return False
    return True


FIRST_OF_A_VECTOR_INTO_A_SCALAR = _takes_the_first()

_EXAMPLES = settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Recipe, Recipe]:
    """A model and what became of it."""
    old = draw(recipes)
    return old, draw(edits(old))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One folder for all examples."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def torchs_word(
    state: Any, fresh: Callable[[], nn.Module], strict: bool
) -> tuple[bool, set[str], set[str], set[str]]:
    """Whether a real load works, and torch's own lists: missing, unexpected, mismatched."""
    try:
        fresh().load_state_dict(state, strict=strict)
        loads = True
    except RuntimeError:
        loads = False
    try:
        fresh().load_state_dict(state)
        message = ""
    except RuntimeError as error:
        message = str(error)

    def listed(what: str) -> set[str]:
        lines = [line for line in message.splitlines() if f"{what} key(s) in state_dict: " in line]
        return {key for line in lines for key in re.findall(r'"([^"]+)"', line)}

    return (
        loads,
        listed("Missing"),
        listed("Unexpected"),
        set(re.findall(r"size mismatch for (\S+):", message)),
    )


#: What an explanation makes of missing and unexpected keys; it may also name keys that torch is
#: content with (a name that was reused, a counter that belongs to a renamed layer).
EXPLANATIONS = {
    *("renamed", "split", "fused", "reparametrized", "prefixed"),
    *("transposed", "resized", "head-resized"),
}


def agrees(verdict: ckpt.Verdict, missing: set[str], unexpected: set[str], mismatched: set[str]) -> None:
    """Every key that torch names is reported, and no other, explanations aside."""
    plain = [change for change in verdict.changes if change.old != change.new or change.kind in _SHAPES]
    reported = [change for change in plain if change.kind not in ("retyped", "retied", "partial-load")]
    removed = {key for change in reported for key in change.old}
    gained = {key for change in reported for key in change.new}
    assert unexpected | mismatched <= removed
    assert missing | mismatched <= gained
    moved = [change for change in reported if change.kind in EXPLANATIONS and change.old != change.new]
    assert removed - unexpected - mismatched <= {key for change in moved for key in change.old}
    assert gained - missing - mismatched <= {key for change in moved for key in change.new}


def loads_nothing(verdict: ckpt.Verdict) -> bool:
    """Whether torch accepts a lenient load that brings in not one tensor: to us that is an error."""
    return any(change.rule == "CK406" for change in verdict.changes)


_SHAPES = ("resized", "head-resized", "transposed")


@pytest.mark.long
@_EXAMPLES
@given(pair=pairs(), strict=st.booleans())
def test_a_saved_checkpoint_is_judged_as_torch_judges_it(
    pair: tuple[Recipe, Recipe], strict: bool, folder: Path
) -> None:
    old, new = pair
    path = folder / "model.pt"
    torch.save(build(old).state_dict(), path)
    state = torch.load(path, weights_only=True)
    loads, missing, unexpected, mismatched = torchs_word(state, lambda: build(new), strict)

    verdict = ckpt.check(path, lambda: build(new), strict=strict)

    assert verdict.compatible is (loads and not loads_nothing(verdict))
    agrees(verdict, missing, unexpected, mismatched)


@pytest.mark.long
@settings(_EXAMPLES, max_examples=examples(100))
@given(pair=pairs(), strict=st.booleans())
def test_a_fingerprint_stands_in_for_its_file(
    pair: tuple[Recipe, Recipe], strict: bool, folder: Path
) -> None:
    old, new = pair
    path = folder / "model.pt"
    torch.save({"state_dict": build(old).state_dict(), "epoch": 3}, path)
    state = torch.load(path, weights_only=True)["state_dict"]
    if not any(isinstance(value, torch.Tensor) for value in state.values()):
        return  # nothing tells it from a checkpoint without a state_dict
    structure = ckpt.read(path)

    recorded = fingerprint.loads(fingerprint.dumps(structure), "model.json")

    assert recorded == structure
    assert list(recorded.tensors) == list(structure.tensors)
    assert fingerprint.digest(recorded) == fingerprint.digest(structure)
    verdict = check_structure(recorded, find(lambda: build(new)), Policy(strict=strict))
    loads = torchs_word(state, lambda: build(new), strict)[0]
    assert verdict.compatible is (loads and not loads_nothing(verdict))


@pytest.mark.long
@settings(_EXAMPLES, max_examples=examples(100))
@given(pair=pairs(), strict=st.booleans())
def test_safetensors_have_no_versions_and_are_judged_so(
    pair: tuple[Recipe, Recipe], strict: bool, folder: Path
) -> None:
    old, new = pair
    path = folder / "model.safetensors"
    entries = build(old).state_dict()
    tensors = {key: value.clone() for key, value in entries.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        return
    save_file(tensors, path)

    verdict = ckpt.check(path, lambda: build(new), strict=strict)

    loads = torchs_word(tensors, lambda: build(new), strict)[0]
    assert verdict.compatible is (loads and not loads_nothing(verdict))


@pytest.mark.long
@settings(_EXAMPLES, max_examples=examples(100))
@given(pair=pairs())
def test_a_comparison_without_hooks_agrees_with_torch(pair: tuple[Recipe, Recipe]) -> None:
    old, new = (define_plain(recipe) for recipe in pair)
    vectors = {key for key, value in old.state_dict().items() if torch.is_tensor(value) and value.dim() == 1}
    scalars = {key for key, value in new.state_dict().items() if torch.is_tensor(value) and value.dim() == 0}
    if FIRST_OF_A_VECTOR_INTO_A_SCALAR and vectors & scalars:
        return  # an older torch's habit; a comparison without torch has today's
    verdict = ckpt.diff(ckpt.define(lambda: old), ckpt.define(lambda: new))

    assert (
        verdict.compatible is torchs_word(dict(old.state_dict()), lambda: copy.deepcopy(new), strict=True)[0]
    )


@pytest.mark.long
@settings(_EXAMPLES, max_examples=examples(100))
@given(recipe=recipes)
def test_a_definition_against_itself_gives_nothing(recipe: Recipe) -> None:
    structure = ckpt.define(lambda: build(recipe))

    assert ckpt.diff(structure, structure).changes == ()
    state = build(recipe).state_dict()
    specs = {
        key: (str(value.dtype), tuple(value.shape)) for key, value in state.items() if hasattr(value, "dtype")
    }
    ours = {key: (f"torch.{s.dtype}", s.shape) for key, s in structure.tensors.items() if s.dtype != "object"}
    assert list(structure.tensors) == list(state)
    assert ours == specs


@pytest.mark.long
@pytest.mark.parametrize("kind", wide.KINDS)
def test_definitions_of_many_kinds_are_judged_as_torch_judges_them(kind: str, folder: Path) -> None:
    for seed in range(2):  # "python -m benchmarks.agreement" tries thousands
        each = wide.case(kind, seed)
        found = wide.compare(each, folder / "model.pt")
        assert found.word in ("agreed", "no case", "no numbers") or found.kind in wide.KNOWN, (
            f"{each.text}: {found}"
        )


def test_warnings_never_make_a_verdict_incompatible() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2).half()

    verdict = ckpt.diff(ckpt.define(lambda: nn.ModuleDict({"layer": nn.Linear(2, 2)})), ckpt.define(Half))
    assert verdict.compatible
    assert {change.severity for change in verdict.changes} == {Severity.WARNING}


def define_plain(recipe: Recipe) -> nn.Module:
    """The module, its version-dependent and renaming parts replaced by plain ones."""
    if recipe.leaf is not None:
        plain = dict.fromkeys(("batchnorm", "untracked", "legacy", "gamma"), "vector").get(recipe.leaf[0])
        return build(Recipe((plain, recipe.leaf[1]))) if plain else build(recipe)
    module = nn.Module()
    for name, child in recipe.children:
        module.add_module(name, define_plain(child))
    return module
