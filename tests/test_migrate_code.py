"""Generated code moves every number to where the truth has it: on real tensors, in every style."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ckpt_compat import Change
from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._check.migration_styles import WRITERS
from pytest_ckpt_compat._check.migration_writer import Sides
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._migrate.families import families
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.rules import RulesError, applied
from pytest_ckpt_compat._migrate.steps import MOVE, Step
from pytest_ckpt_compat._migrate.templates import expanded, template_of
from pytest_ckpt_compat._migrate.toml_file import rules_in
from tests.migrations import Refactor, State, hostile_refactors, refactors

PYTHON = ("function", "hook", "timm", "lightning")
QUIET = settings(suppress_health_check=list(HealthCheck), deadline=None)


def sides_of(refactor: Refactor) -> Sides:
    old, new = refactor.sides
    return Sides(
        old, new, None, Verdict(refactor.changes, old=old, new=new, old_label="old", new_label="new")
    )


def run(style: str, code: str, state: State) -> Mapping[str, torch.Tensor]:
    """What the code makes of real tensors, called as its library calls it."""
    given_state: Any = OrderedDict(state)
    if style == "function":
        return proof.compiled(code, "migrate")(given_state)  # type: ignore[no-any-return]
    if style == "timm":
        return proof.compiled(code, "checkpoint_filter_fn")(given_state, None)  # type: ignore[no-any-return]
    if style == "lightning":
        checkpoint = {"state_dict": given_state}
        proof.compiled(code, "on_load_checkpoint")(None, checkpoint)
        loaded: Mapping[str, torch.Tensor] = checkpoint["state_dict"]
        return loaded
    nested = {f"outer.{key}": value for key, value in state.items()}
    nested["other.weight"] = torch.zeros(1)
    proof.compiled(code, "upgrade")(None, nested, "outer.", {}, True, [], [], [])
    assert nested.pop("other.weight").tolist() == [0.0]
    return {key.removeprefix("outer."): value for key, value in nested.items()}


def same(made: Mapping[str, torch.Tensor], wanted: State) -> bool:
    return made.keys() == wanted.keys() and all(torch.equal(made[key], wanted[key]) for key in wanted)


def check(refactor: Refactor, style: str) -> None:
    sides = sides_of(refactor)
    plan = plan_of(refactor.changes, sides.old, sides.new)
    found = migration.migration(sides, plan, style)
    done = {key for step in plan.live for key in step.old}
    if not found.code:
        assert same(refactor.old, refactor.wanted)
        return
    made = run(style, found.code, refactor.old)
    for step in plan.live:
        for key in step.new:
            assert torch.equal(made[key], refactor.wanted[key])
    for key in refactor.old.keys() - done:
        assert made[key] is refactor.old[key]
    assert found.proven == len(plan.live)
    if plan.complete:
        assert found.complete
        assert same(made, refactor.wanted)


@pytest.mark.parametrize("style", PYTHON)
@given(refactors())
@QUIET
def test_every_number_arrives(style: str, refactor: Refactor) -> None:
    check(refactor, style)


@pytest.mark.parametrize("style", PYTHON)
@given(hostile_refactors())
@QUIET
def test_no_name_breaks_the_code(style: str, refactor: Refactor) -> None:
    check(refactor, style)


@given(refactors() | hostile_refactors())
@QUIET
def test_a_file_of_rules_means_what_its_rules_mean(refactor: Refactor) -> None:
    sides = sides_of(refactor)
    plan = plan_of(refactor.changes, sides.old, sides.new)
    writer = WRITERS["rules"](sides, plan)
    read = rules_in(writer.source(writer.written({})))
    keys = list(refactor.old)
    first, again = (
        {(step.op, step.old, step.new) for step in applied(rules, keys)} for rules in (writer.rules, read)
    )
    assert first == again
    found = migration.migration(sides, plan, "rules")
    assert found.proven == len(plan.live)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A folder of many outputs, of every style that is Python."""
    folder = tmp_path_factory.mktemp("written")
    numbers = iter(range(10**6))

    @given(st.sampled_from((*PYTHON, "transformers")), refactors() | hostile_refactors())
    @settings(QUIET, max_examples=150, database=None, derandomize=True)
    def write(style: str, refactor: Refactor) -> None:
        sides = sides_of(refactor)
        plan = plan_of(refactor.changes, sides.old, sides.new)
        if plan.live:
            try:
                code = migration.migration(sides, plan, style).code
            except RulesError:  # transformers' patterns cannot name every key that torch can
                assert style == "transformers"
                return
            (folder / f"{style}_{next(numbers)}.py").write_text(code, encoding="utf-8")

    def all_of_them() -> Path:
        write()
        return folder

    return all_of_them


def test_ruff_leaves_the_code_as_it_is(written: Callable[[], Path]) -> None:
    folder = written()
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[:3000] + result.stderr[:1000]


def experts() -> Refactor:
    """Layers of experts, of which each pair of matrices became a slice of one tensor, and the reverse."""
    old: State = {}
    wanted: State = {}
    changes = []
    numbers = torch.arange(3 * 9 * 3 * 6.0).reshape(3, 9, 3, 6)
    for layer in range(3):
        pairs = [numbers[layer, e].chunk(2) for e in range(5)]
        keys = [f"layers.{layer}.moe.{e}.{name}.weight" for e in range(5) for name in ("w1", "w3")]
        parts = dict(zip(keys, (part[:1] for pair in pairs for part in pair), strict=True))
        joint = {
            f"layers.{layer}.experts.gate_up": torch.stack([torch.cat((a[:1], b[:1])) for a, b in pairs])
        }
        whole = {f"layers.{layer}.joint": numbers[layer, 5:].clone()}
        slices = {f"layers.{layer}.apart.{i}": numbers[layer, 5 + i] for i in range(4)}
        for kind, one, other in (("fused", parts, joint), ("split", whole, slices)):
            old |= one
            wanted |= other
            changes.append(Change(kind, tuple(one), tuple(other)))  # type: ignore[arg-type]
    return Refactor(old, tuple(changes), wanted)


@pytest.mark.parametrize("style", PYTHON)
def test_experts_are_not_listed_one_by_one(style: str, tmp_path: Path) -> None:
    refactor = experts()
    check(refactor, style)
    sides = sides_of(refactor)
    code = migration.migration(sides, plan_of(refactor.changes, sides.old, sides.new), style).code
    assert "for i in range(5)" in code
    assert "for i in range(4)" in code
    (tmp_path / "code.py").write_text(code)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--check", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_transformers_stacks_experts_in_another_order_of_operations() -> None:
    """It stacks first and joins then, which gives the same numbers; the proof has to know."""
    refactor = experts()
    joined = tuple(change for change in refactor.changes if change.kind == "fused")
    taken = {key for change in joined for key in change.old}
    only = Refactor(
        {key: value for key, value in refactor.old.items() if key in taken},
        joined,
        {key: value for key, value in refactor.wanted.items() if "gate_up" in key},
    )
    sides = sides_of(only)
    found = migration.migration(sides, plan_of(joined, sides.old, sides.new), "transformers")
    assert found.complete, (found.unproven, found.code)
    from pytest_ckpt_compat._definition.transformers_loading import by_conversions

    made = by_conversions(proof.compiled(found.code, "CONVERSIONS"), sides.new, "cpu")(only.old)
    assert same(made, only.wanted)


def test_a_converter_takes_no_key_that_it_is_not_for() -> None:
    """GPT-2's two projections have one name: one of them is square, so that nobody knows its fate."""
    sizes = {"mlp": 9, "attn": 3}
    old = {f"h.{i}.{name}.c_proj.weight": torch.randn(3, sizes[name]) for i in (0, 1) for name in sizes}
    wanted = {key: value.t() if "mlp" in key else value for key, value in old.items()}
    changes = tuple(Change("transposed", (key,), (key,)) for key in old if "mlp" in key)
    sides = sides_of(Refactor(old, changes, wanted))
    plan = plan_of(changes, sides.old, sides.new)
    found = migration.migration(sides, plan, "transformers")
    assert not found.unproven
    assert found.proven == len(plan.live) == 2
    assert r"\.mlp\.c_proj\.weight$" in found.code


@pytest.mark.parametrize(
    ("numbers", "made"),
    [
        ((0,), "2.parametrizations.weight.0._u"),  # an index of the parametrization, not the layer's number
        ((0, 1), "2.parametrizations.weight.2._u"),  # it follows the layer's number in both
    ],
)
def test_one_number_that_comes_up_twice_is_no_rule(numbers: tuple[int, ...], made: str) -> None:
    steps = [Step(MOVE, (f"{n}.weight_u",), (f"{n}.parametrizations.weight.{n}._u",)) for n in numbers]
    (family,) = families(steps)
    assert expanded(template_of(family.new), ["2"]) == made
