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

from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._check.migration_styles import WRITERS, Sides
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.rules import applied
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
            code = migration.migration(sides, plan, style).code
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
