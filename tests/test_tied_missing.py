"""A tied key that the checkpoint lacks gets what the checkpoint has for the other one, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.breaks import may_be_migrated
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._core.ties import sources
from pytest_ckpt_compat._migrate.plan import plan_of
from pytest_ckpt_compat._migrate.steps import COPY

Shapes = Mapping[str, tuple[int, ...]]


def sides(old: Shapes, new: Shapes, *tied: str) -> list[Structure]:
    before, after = (
        {key: TensorSpec("float32", shape) for key, shape in each.items()} for each in (old, new)
    )
    return [Structure(before), Structure(after, aliases=(tied,))]


def test_the_tensor_is_named_where_its_key_was_renamed() -> None:
    shapes = {"embed.weight": (50, 8), "head.weight": (50, 8), "l.weight": (8, 8)}
    old, new = sides({"tok.weight": (50, 8), "l.weight": (8, 8)}, shapes, "embed.weight", "head.weight")
    verdict = ckpt.diff(old, new)
    [missing] = [each for each in verdict.changes if each.kind == "missing"]
    assert missing.advice.startswith(
        f"give {missing.new[0]} the checkpoint's tok.weight, to which it is tied"
    )
    assert may_be_migrated(verdict)
    plan = plan_of(verdict.changes, old, new)
    assert [step.old for step in plan.doubtful if step.op == COPY] == [("tok.weight",)]


@pytest.mark.parametrize("prefix", ["module.", "model."])
def test_the_tensor_is_named_as_the_checkpoint_has_it(prefix: str) -> None:
    shapes = {"embed.weight": (50, 8), "l.weight": (8, 8), "head.weight": (50, 8)}
    own = {f"{prefix}{key}": shape for key, shape in shapes.items() if key != "head.weight"}
    old, new = sides(own, shapes, "embed.weight", "head.weight")
    verdict = ckpt.diff(old, new)
    assert f"give head.weight the checkpoint's {prefix}embed.weight, to which it is tied" in str(verdict)
    plan = plan_of(verdict.changes, old, new)
    assert plan.complete
    assert [(step.old, step.new) for step in plan.live if step.op == COPY] == [
        ((f"{prefix}embed.weight",), ("head.weight",))
    ]


def test_a_key_of_another_size_or_without_a_source_gets_none() -> None:
    shapes = {"embed.weight": (50, 8), "head.weight": (50, 8)}
    old, new = sides({"embed.weight": (40, 8)}, shapes, "embed.weight", "head.weight")
    assert sources(["head.weight"], (), old, new) == {}
    old, new = sides({}, shapes, "embed.weight", "head.weight")
    assert sources(["head.weight", "embed.weight"], (), old, new) == {}


def test_the_advice_is_true_of_torch() -> None:
    """A default is copied into what both names share; the checkpoint's own tensor leaves it as it was."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    state = {"embed.weight": torch.ones(5, 3)}
    for given, kept in ((torch.zeros(5, 3), False), (state["embed.weight"], True)):
        net = Net()
        net.load_state_dict({**state, "head.weight": given})
        assert bool((net.embed.weight == 1).all()) is kept


@pytest.mark.parametrize(
    ("kept", "layers", "parts", "tied", "given"),
    [
        (0, 4, "w", "l.0.w", ["l.{1..3}.w the checkpoint's l.0.w, to which they are"]),
        (2, 4, "w", "l.2.w", ["l.{0,1,3}.w the checkpoint's l.2.w, to which they are"]),
        (
            *(0, 3, "vw", "l.0.*"),
            [f"l.{at}.* the checkpoint's l.0.*, to which they are" for at in (1, 2)],
        ),
        (0, 2, "w", "l.0.w", ["l.1.w the checkpoint's l.0.w, to which it is"]),
    ],
)
def test_one_tensor_may_be_wanted_under_many_keys(
    kept: int, layers: int, parts: str, tied: str, given: list[str]
) -> None:
    """As where layers share their parameters, and the checkpoint was saved without copies."""
    shapes = {f"l.{at}.{part}": (2,) for at in range(layers) for part in parts} | {"head.bias": (3,)}
    groups = tuple(tuple(f"l.{at}.{part}" for at in range(layers)) for part in parts)
    held = {key: shape for key, shape in shapes.items() if key.startswith((f"l.{kept}.", "head"))}
    old = Structure({key: TensorSpec("float32", shape) for key, shape in held.items()})
    new = Structure({key: TensorSpec("float32", shape) for key, shape in shapes.items()}, aliases=groups)
    verdict = ckpt.diff(old, new)
    missing = [each for each in verdict.changes if each.kind == "missing"]
    assert len(missing) == (layers - 1) * len(parts)
    assert {each.detail for each in missing} == {f"tied to {tied}"}
    assert list(dict.fromkeys(each.advice for each in missing)) == [
        f"give {each} tied (migrate=): any other value would overwrite that, too" for each in given
    ]
