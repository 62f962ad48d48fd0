"""Several copies of a model in one checkpoint: none is preferred because of its place in the file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._migrate.choose import chosen
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.steps import DROP
from pytest_ckpt_compat._renames import infer

NET = {"body.0.weight": (8, 4), "body.0.bias": (8,), "body.1.weight": (16, 8), "head.weight": (3, 16)}


def specs(*shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorSpec]:
    return {key: TensorSpec("float32", shape) for each in shapes for key, shape in each.items()}


def under(prefix: str, shapes: Mapping[str, tuple[int, ...]] = NET) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{key}": shape for key, shape in shapes.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("student", "teacher"),
        ("netG_A", "netG_B"),
        ("model", "ema"),
        ("encoder_q", "encoder_k"),
        ("actor_1", "actor_2"),
    ],
)
@pytest.mark.parametrize("target", ["", "net", "run.model"])
def test_neither_of_two_copies_is_preferred(names: tuple[str, str], target: str) -> None:
    new = specs(under(target) if target else NET)
    for first, second in itertools.permutations(names):
        moved = [each for each in infer(specs(under(first), under(second)), new) if each.old and each.new]
        if target == "run.model" and "model" in names:
            assert {each.old[0].partition(".")[0] for each in moved} == {"model"}  # whose name stayed
            continue
        assert len(moved) == len(NET)
        assert {each.confidence for each in moved} == {"ambiguous"}
        for each in moved:
            name, _, rest = each.old[0].partition(".")
            assert each.rivals == (f"{second if name == first else first}.{rest}",)


def test_a_copy_whose_name_stayed_is_preferred() -> None:
    old = specs(under("generator"), under("discriminator"))
    changes = infer(old, specs(under("nets.generator")))
    assert {each.old[0].partition(".")[0] for each in changes if each.new} == {"generator"}
    assert not any(each.rivals for each in changes)


@pytest.mark.parametrize(
    "other",
    [
        {**under("teacher"), "teacher.head.weight": (5, 16)},
        under("teacher", {"body.0.weight": (8, 4), "body.0.bias": (8,)}),
    ],
    ids=["of another size", "without a layer"],
)
def test_what_does_not_fit_is_no_copy(other: dict[str, tuple[int, ...]]) -> None:
    changes = infer(specs(under("student"), other), specs(NET))
    assert not any(each.rivals for each in changes)


def test_numbered_blocks_are_no_copies() -> None:
    block = {"a.weight": (8, 8), "b.weight": (8, 4)}
    old = specs(*(under(f"blocks.{n}", block) for n in range(4)))
    new = specs(*(under(f"layers.{n}", block) for n in range(2)))
    assert not any(each.rivals for each in infer(old, new))


def test_the_report_advises_to_choose_and_not_to_drop() -> None:
    verdict = ckpt.diff(Structure(specs(under("student"), under("teacher"))), Structure(specs(NET)))
    text = str(verdict)
    assert "student.* -> *   4 tensors   teacher.* fits as well   ambiguous" in text
    assert 'with strip_prefix="student." or strip_prefix="teacher."' in text
    assert '--choose "teacher.*=*"' in text
    assert "drop" not in text


@pytest.mark.parametrize(("wanted", "other"), [("student", "teacher"), ("teacher", "student")])
def test_a_choice_is_all_that_a_migration_needs(wanted: str, other: str) -> None:
    old, new = Structure(specs(under("student"), under("teacher"))), Structure(specs(NET))
    plan = plan_of(ckpt.diff(old, new).changes, old, new)
    assert not plan.complete
    assert not plan.live
    plan = chosen(plan, [f"{wanted}.*=*"], old, new)
    assert plan.complete
    assert {key for step in plan.live if step.op == DROP for key in step.old} == set(under(other))
    assert {step.old + step.new for step in plan.live if step.new} == {
        (f"{wanted}.{key}", key) for key in NET
    }


def test_a_copy_beside_the_model_itself_is_named() -> None:
    verdict = ckpt.diff(Structure(specs(NET, under("ema"))), Structure(specs(NET)))
    assert "- ema.*   4 tensors   another copy of the model" in str(verdict)
    assert 'strip_prefix="ema."' in str(verdict)
