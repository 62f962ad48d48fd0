"""Splits, fuses, other parametrizations, transposed weights, buffers."""

from __future__ import annotations

import pytest

from pytest_ckpt_compat._renames import infer

from .models import Specs, kinds, linear, merged, renamed, resnet, spec, transformer
from .test_traps import experts


def separate(specs: Specs, width: int = 32) -> Specs:
    """The same with q, k, v in place of each qkv."""
    result: Specs = {}
    for key, value in specs.items():
        for name in ("q_proj", "k_proj", "v_proj") if "qkv" in key else ("",):
            shape = (width, *value.shape[1:]) if name else value.shape
            result[key.replace("qkv", name)] = spec(*shape)
    return result


@pytest.mark.parametrize("turned", [False, True])
def test_qkv(turned: bool) -> None:
    fused, split = transformer(), separate(transformer())
    changes = infer(split, fused) if turned else infer(fused, split)
    assert {change.kind for change in changes} == {"fused" if turned else "split"}
    assert len(changes) == 8
    for change in changes:
        several, (one,) = (change.old, change.new) if turned else (change.new, change.old)
        assert several == tuple(one.replace("qkv", f"{name}_proj") for name in "qkv")
        assert change.confidence == "certain"


def test_a_split_says_its_rule() -> None:
    groups = {change.group for change in infer(transformer(), separate(transformer()))}
    assert groups == {"blocks.{0..3}.attn.qkv.* -> blocks.{0..3}.attn.{q_proj,k_proj,v_proj}.*"}


def test_a_split_and_a_rename_at_once() -> None:
    new = renamed(separate(transformer()), ("blocks", "encoder.layer"), ("mlp.fc", "dense"))
    assert kinds(transformer(), new) == {"renamed": 40, "split": 8}


@pytest.mark.parametrize("turned", [False, True])
def test_stacked_experts(turned: bool) -> None:
    old = experts("experts", "gate", "up", "down", count=6)
    new = {key: value for key, value in old.items() if ".experts." not in key}
    for layer in (0, 1):
        new[f"layers.{layer}.experts.gate_up"] = spec(6, 96, 32)
        new[f"layers.{layer}.experts.down"] = spec(6, 32, 48)
    changes = infer(new, old) if turned else infer(old, new)
    assert {change.kind for change in changes} == {"split" if turned else "fused"}
    assert sorted(len(change.new if turned else change.old) for change in changes) == [6, 6, 12, 12]


def gated(names: str, experts: str) -> Specs:
    """Three layers of square experts and a shared one, and a layer whose shapes tell the parts."""
    gate, up, down = names.split()
    parts = [
        {f"dense.{n}.weight": spec(*size)} for n, size in ((gate, (64, 8)), (up, (64, 8)), (down, (8, 64)))
    ]
    for layer in range(3):
        shared = f"layers.{layer}.shared"
        parts.append({f"{shared}.{name}.weight": spec(8, 8) for name in (gate, up, down)})
        pool = f"layers.{layer}.{experts}"
        if experts == "pool":
            parts.append({f"{pool}.gate_up": spec(4, 16, 8), f"{pool}.down": spec(4, 8, 8)})
        else:
            parts.append(
                {f"{pool}.{n}.{name}.weight": spec(8, 8) for n in range(4) for name in (gate, up, down)}
            )
    return merged(*parts)


def test_layers_of_other_shapes_elsewhere_are_not_joined() -> None:
    """Of three square matrices, those are joined whose names stand for one shape in another layer."""
    old = dict(sorted(gated("w1 w3 w2", "experts").items()))
    fused = {change.new: change.old for change in infer(old, gated("gate up down", "pool"))}
    for layer in range(3):
        here = f"layers.{layer}."
        both = fused[f"{here}pool.gate_up",]
        assert both == tuple(f"{here}experts.{n}.{name}.weight" for n in range(4) for name in ("w1", "w3"))
        assert fused[f"{here}pool.down",] == tuple(f"{here}experts.{n}.w2.weight" for n in range(4))


def test_a_name_that_means_another_layer_elsewhere_is_a_toss() -> None:
    """A sorted file has w1, w2, w3, and the definition gate, up, down: w2 is down where shapes tell."""
    old = dict(sorted(gated("w1 w3 w2", "pool").items()))
    changes = infer(old, gated("gate up down", "pool"))
    told = {change.old[0]: change.confidence for change in changes if len(change.new) == 1}
    of_one_shape = [told[f"layers.1.shared.{name}.weight"] for name in ("w1", "w2", "w3")]
    assert of_one_shape == ["likely", "ambiguous", "ambiguous"]


def test_a_part_whose_name_stayed_went_into_no_joint_layer() -> None:
    """A gate is joined with query, key and value; the output projection has the same shape."""
    rest = {"fc.weight": spec(32, 8), "norm.weight": spec(8)}
    old = {"attn.gqkv_proj.weight": spec(32, 8), "attn.o_proj.weight": spec(8, 8), **rest}
    parts = ("q_proj", "k_proj", "v_proj", "gate_proj")
    new = {f"mix.{name}.weight": spec(8, 8) for name in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj")}
    changes = {change.old: change for change in infer(old, {**new, **rest})}
    assert changes["attn.o_proj.weight",].new == ("mix.o_proj.weight",)
    split = changes["attn.gqkv_proj.weight",]
    assert (set(split.new), split.confidence) == ({f"mix.{name}.weight" for name in parts}, "likely")


def test_gate_and_up_in_one() -> None:
    def model(*names: str, sizes: tuple[int, ...]) -> Specs:
        layers = [
            linear(f"layers.{n}.mlp.{name}", size, 32)
            for n in range(3)
            for name, size in zip(names, sizes, strict=True)
        ]
        return merged(*layers, linear("head", 10, 32))

    old, new = model("gate_proj", "up_proj", sizes=(48, 48)), model("gate_up_proj", sizes=(96,))
    assert kinds(old, new) == {"fused": 6}


def test_weight_norm_under_its_other_parametrization() -> None:
    old: Specs = {}
    for index in range(3):
        old[f"ups.{index}.weight_g"] = spec(8, 1, 1)
        old[f"ups.{index}.weight_v"] = spec(8, 4, 3 + index)
        old[f"ups.{index}.bias"] = spec(8)
    new = renamed(
        old,
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    )
    changes = infer(old, new)
    assert {change.kind for change in changes} == {"reparametrized"}
    assert [change.old for change in changes] == [
        (f"ups.{n}.weight_g", f"ups.{n}.weight_v") for n in range(3)
    ]


def test_weight_norm_removed() -> None:
    body = resnet()
    old = {**body, "out.weight_g": spec(8, 1, 1), "out.weight_v": spec(8, 4, 3), "out.bias": spec(8)}
    new = {**body, "out.weight": spec(8, 4, 3), "out.bias": spec(8)}
    changes = infer(old, new)
    assert [(c.kind, c.old, c.new) for c in changes] == [
        ("reparametrized", ("out.weight_g", "out.weight_v"), ("out.weight",))
    ]


def test_transposed_and_squeezed_weights() -> None:
    old = transformer()
    new = {
        key: spec(*value.shape[::-1]) if "fc" in key and key.endswith("weight") else value
        for key, value in old.items()
    }
    assert kinds(old, new) == {"transposed": 8}
    squeezed = {
        key: spec(*value.shape, 1, 1) if "attn.proj.weight" in key else value for key, value in old.items()
    }
    assert kinds(old, squeezed) == {"transposed": 4}


def test_buffers_that_came_or_went() -> None:
    old = resnet()
    new = {key: value for key, value in old.items() if "num_batches" not in key}
    assert kinds(old, new) == {"unexpected": 10}
    assert kinds(new, old) == {"missing": 10}


def test_a_lone_bias_belongs_to_the_layer_it_is_named_after() -> None:
    old: Specs = {}
    new: Specs = {}
    for block in range(3):
        for name, short in (("query", "q"), ("key", "k"), ("value", "v")):
            old[f"layers.{block}.{name}.weight"] = new[f"layers.{block}.{short}_proj.weight"] = spec(32, 32)
            new[f"layers.{block}.{short}_proj.bias"] = spec(32)
        old[f"layers.{block}.q_bias"] = old[f"layers.{block}.v_bias"] = spec(32)
    found = {c.old: c.new for c in infer(old, new) if c.kind == "renamed"}
    assert found["layers.1.q_bias",] == ("layers.1.q_proj.bias",)
    assert found["layers.1.v_bias",] == ("layers.1.v_proj.bias",)


@pytest.mark.parametrize("first", [True, False])
def test_a_layer_with_a_bias_of_its_own_takes_no_other(first: bool) -> None:
    layer = merged(*(linear(f"layers.{block}.query", 32, 32) for block in range(3)))
    beside = {f"layers.{block}.query_bias": spec(32) for block in range(3)}
    old = {**beside, **layer} if first else {**layer, **beside}
    new = renamed(old, ("query_bias", "query_scale"))
    assert not [c for c in infer(old, new) if "bias" in c.old[0] and c.new[0].endswith(".bias")]
