"""In which order parts stand in a joint tensor: only names say it, neither sizes nor digits in words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.believe.part_order import doubt
from pytest_ckpt_compat._renames.units.units import Unit, units_of

BEFORE = {"emb.weight": (8, 4), "norm.weight": (8,), "norm.bias": (8,)}
AFTER = {"down.weight": (8, 24), "last.weight": (8,), "last.bias": (8,), "head.weight": (3, 8)}


def specs(layers: Mapping[str, int]) -> dict[str, TensorSpec]:
    own = {f"{name}.weight": (rows, 8) for name, rows in layers.items()}
    return {key: TensorSpec("float32", shape) for key, shape in own.items()}


@pytest.mark.parametrize(
    ("joint", "parts", "known"),
    [
        ("in_proj", {"alpha": 8, "beta": 16}, False),
        ("fc1", {"gate_proj": 8, "up_proj": 16}, False),
        ("beta_alpha", {"alpha": 8, "beta": 16}, False),
        ("alpha_beta", {"alpha": 8, "beta": 16}, True),
        ("qkv", {"q": 16, "k": 8, "v": 8}, True),
        ("in_proj", {"k": 8, "q": 16}, False),
        ("query_key_value", {"q_proj": 8, "k_proj": 8, "v_proj": 8}, False),
        ("wqkv", {"wq": 16, "wk": 8, "wv": 8}, False),
        ("wqkv", {"wq": 8, "wk": 8, "wv": 8}, True),
        ("fc1", {"w1": 8, "w3": 8}, False),
        ("w13", {"w1": 8, "w3": 8}, False),
        ("w12", {"w1": 8, "w2": 8}, False),
        ("experts", {"experts.0": 8, "experts.1": 8}, True),
        ("experts", {"experts.9.w": 8, "experts.10.w": 16}, True),
        ("experts", {"experts.1": 8, "experts.0": 8}, False),
    ],
)
def test_what_says_the_order(joint: str, parts: dict[str, int], known: bool) -> None:
    (whole,) = units_of(specs({joint: sum(parts.values())}))
    divided = units_of(specs(parts))
    joined = Unit(joint, tuple(tensor for each in divided for tensor in each.tensors), parts=tuple(divided))
    assert (doubt(whole, joined) == "") is known
    assert (doubt(joined, whole) == "") is known


@pytest.mark.parametrize(
    ("joint", "parts", "known"),
    [
        ("fc1", {"gate_proj": 8, "up_proj": 16}, False),
        ("fc1", {"gate_proj": 12, "up_proj": 12}, False),
        ("gate_up_proj", {"gate_proj": 8, "up_proj": 16}, True),
        ("qkv", {"q": 16, "k": 8, "v": 8}, True),
    ],
)
@pytest.mark.parametrize("split", [True, False])
def test_what_sizes_cannot_say_is_likely(joint: str, parts: dict[str, int], known: bool, split: bool) -> None:
    def model(layers: Mapping[str, int]) -> dict[str, TensorSpec]:
        before, after = (
            {key: TensorSpec("float32", shape) for key, shape in each.items()} for each in (BEFORE, AFTER)
        )
        return {**before, **specs(layers), **after}

    whole, divided = model({joint: sum(parts.values())}), model(parts)
    found = infer(whole, divided) if split else infer(divided, whole)
    (told,) = (each for each in found if each.old != each.new)
    assert told.kind == ("split" if split else "fused")
    assert (told.confidence == "certain") is known
    assert ("the names do not say in which order the parts stand" in told.evidence) is not known
