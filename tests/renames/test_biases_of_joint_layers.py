"""q, k and v that the other side holds as one, and biases that not all of them have."""

from __future__ import annotations

import pytest

from pytest_ckpt_compat import TensorSpec
from pytest_ckpt_compat._renames import infer

WIDTH = 32


def layer(path: str, out: int = WIDTH, inner: int = WIDTH, bias: bool = True) -> dict[str, TensorSpec]:
    weight = {f"{path}.weight": TensorSpec("float32", (out, inner))}
    return weight | ({f"{path}.bias": TensorSpec("float32", (out,))} if bias else {})


def norm(path: str) -> dict[str, TensorSpec]:
    return {f"{path}.{leaf}": TensorSpec("float32", (WIDTH,)) for leaf in ("weight", "bias")}


def joint(blocks: int) -> dict[str, TensorSpec]:
    """One layer for q, k and v, beside the biases of q and v, as BEiT has them."""
    found = layer("embed", inner=48)
    for path in (f"blocks.{number}" for number in range(blocks)):
        found |= norm(f"{path}.norm1")
        found |= {f"{path}.attn.{name}": TensorSpec("float32", (WIDTH,)) for name in ("q_bias", "v_bias")}
        found |= layer(f"{path}.attn.qkv", 3 * WIDTH, bias=False) | layer(f"{path}.attn.proj")
        found |= norm(f"{path}.norm2")
        found |= layer(f"{path}.mlp.fc1", 4 * WIDTH) | layer(f"{path}.mlp.fc2", inner=4 * WIDTH)
    return found


def separate(blocks: int) -> dict[str, TensorSpec]:
    """The same with three layers, of which the key has no bias."""
    found = layer("embed", inner=48)
    for path in (f"blocks.{number}" for number in range(blocks)):
        found |= norm(f"{path}.norm1")
        found |= layer(f"{path}.attn.query") | layer(f"{path}.attn.key", bias=False)
        found |= layer(f"{path}.attn.value") | layer(f"{path}.attn.proj")
        found |= norm(f"{path}.norm2")
        found |= layer(f"{path}.mlp.fc1", 4 * WIDTH) | layer(f"{path}.mlp.fc2", inner=4 * WIDTH)
    return found


@pytest.mark.parametrize("blocks", [1, 3, 12])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("order", [dict, lambda specs: dict(sorted(specs.items()))])
def test_the_biases_beside_a_joint_layer_are_those_of_its_parts(blocks, turned, order) -> None:  # type: ignore[no-untyped-def]
    one, other = joint(blocks), separate(blocks)
    changes = infer(order(other), one) if turned else infer(order(one), other)
    moved = {(change.old, change.new) for change in changes}
    for path in (f"blocks.{number}.attn" for number in range(blocks)):
        parts = tuple(f"{path}.{name}.weight" for name in ("query", "key", "value"))
        expected = {((f"{path}.qkv.weight",), parts)}
        expected |= {
            ((f"{path}.{short}_bias",), (f"{path}.{name}.bias",))
            for short, name in (("q", "query"), ("v", "value"))
        }
        assert {(new, old) if turned else (old, new) for old, new in expected} <= moved
    assert {change.kind for change in changes} == {"renamed", "fused" if turned else "split"}


def test_a_bias_that_no_part_has_stays_where_it_is() -> None:
    """The bias of the whole has no counterpart: it is not said to be one of a norm."""
    whole, parts = joint(3), separate(3)
    whole = {key: spec for key, spec in whole.items() if not key.endswith(("q_bias", "v_bias"))}
    parts = {key: spec for key, spec in parts.items() if "query.bias" not in key and "value.bias" not in key}
    whole |= {f"blocks.{n}.attn.qkv.bias": TensorSpec("float32", (3 * WIDTH,)) for n in range(3)}
    alone = {change.old for change in infer(whole, parts) if not change.new}
    assert alone == {(f"blocks.{n}.attn.qkv.bias",) for n in range(3)}
