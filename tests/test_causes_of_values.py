"""Causes and advice where the tool's first word would throw trained values away, or read them wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.breaks import may_be_migrated


def checked(folder: Path, state: dict[str, Any], model: Any) -> ckpt.Verdict:
    torch.save(state, folder / "run.pt")
    return ckpt.check(folder / "run.pt", model)


def linear(before: int, after: int) -> nn.Linear:
    return nn.Linear(before, after, bias=False)


class Layers(nn.Module):
    """Layers under these names."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


# -- tied tensors ----------------------------------------------------------------------------------


def tied() -> nn.Module:
    net = Layers(embed=nn.Embedding(50, 8), mid=nn.Linear(8, 8), lm_head=linear(8, 50))
    net.lm_head.weight = net.embed.weight  # type: ignore[union-attr]
    return net


def test_a_missing_name_of_a_tied_tensor_gets_no_default(tmp_path: Path) -> None:
    """A default is copied into the one tensor after the trained embedding, and erases it."""
    state = tied().state_dict()
    del state["lm_head.weight"]
    verdict = checked(tmp_path, state, tied)
    assert "+ lm_head.weight   float32[50, 8]   tied to embed.weight" in str(verdict)
    assert (
        "CK101: give lm_head.weight the checkpoint's embed.weight, to which it is tied (migrate=): "
        "any other value would overwrite that, too"
    ) in str(verdict)
    assert may_be_migrated(verdict)


def test_a_missing_tensor_that_is_not_tied_keeps_its_advice(tmp_path: Path) -> None:
    state = tied().state_dict()
    del state["mid.bias"]
    verdict = checked(tmp_path, state, tied)
    assert "CK101: give it a default in a load_state_dict pre-hook, or take the layer out" in str(verdict)
    assert not may_be_migrated(verdict)


# -- a vocabulary ----------------------------------------------------------------------------------


def test_fewer_heads_of_key_and_value_are_no_vocabulary(tmp_path: Path) -> None:
    def attention(heads: int) -> nn.Module:
        return Layers(q=nn.Linear(64, 64), k=nn.Linear(64, 8 * heads), v=nn.Linear(64, 8 * heads))

    text = str(checked(tmp_path, attention(8).state_dict(), lambda: attention(2)))
    assert "vocabulary" not in text
    assert "rows" not in text


@pytest.mark.parametrize("name", ["embed", "wte", "lookup"])
def test_an_embedding_and_a_head_are_one(tmp_path: Path, name: str) -> None:
    def language(rows: int) -> nn.Module:
        return Layers(**{name: nn.Embedding(rows, 8), "mid": nn.Linear(8, 8), "lm_head": linear(8, rows)})

    text = str(checked(tmp_path, language(50).state_dict(), lambda: language(60)))
    assert text.count("vocabulary 50 -> 60") == 1 or text.count("vocabulary 50 -> 60") == 2
    assert "resize it from 50 rows after the load" in text


# -- a head ----------------------------------------------------------------------------------------


def test_a_head_of_another_size_has_advice_besides_accepting(tmp_path: Path) -> None:
    def net(classes: int) -> nn.Module:
        return Layers(body=nn.Linear(8, 8), fc=nn.Linear(8, classes))

    text = str(checked(tmp_path, net(1000).state_dict(), lambda: net(10)))
    assert (
        "CK202: build it with the file's outputs, load, then replace the head; or leave it out of the load"
    ) in text


# -- numbers that a cast does not keep -------------------------------------------------------------


def values(dtype: torch.dtype, buffer: bool = False) -> nn.Module:
    net = nn.Module()
    tensor = torch.zeros(4, 4, dtype=dtype)
    net.register_buffer("w", tensor) if buffer else net.register_parameter("w", nn.Parameter(tensor))
    net.register_buffer("scale", torch.zeros(1))
    return net


@pytest.mark.parametrize(
    ("saved", "loaded", "told", "breaks"),
    [
        (torch.complex64, torch.float32, "complex64 -> float32 discards the imaginary part", True),
        (torch.float32, torch.int64, "float32 -> int64 cuts off the fraction", False),
        (torch.float32, torch.bool, "float32 -> bool keeps only whether it is zero", False),
        (torch.int8, torch.float32, "int8 -> float32 takes quantized numbers as they are", True),
    ],
)
def test_a_cast_that_loses_more_than_precision_is_named(
    tmp_path: Path, saved: torch.dtype, loaded: torch.dtype, told: str, breaks: bool
) -> None:
    state = {"w": torch.ones(4, 4, dtype=saved), "scale": torch.zeros(1)}
    verdict = checked(tmp_path, state, lambda: values(loaded, buffer=not loaded.is_floating_point))
    assert verdict.compatible is not breaks
    headline = str(verdict).splitlines()[0]
    assert headline.endswith(f": w {told}" if breaks else f": loads, w {told}")


@pytest.mark.parametrize("saved", [torch.float64, torch.float16, torch.bfloat16])
def test_a_cast_among_floats_is_as_quiet_as_before(tmp_path: Path, saved: torch.dtype) -> None:
    state = {"w": torch.ones(4, 4, dtype=saved), "scale": torch.zeros(1)}
    (change,) = checked(tmp_path, state, lambda: values(torch.float32)).changes
    assert (change.kind, change.detail, change.advice) == ("retyped", "", "")


def test_the_scales_of_quantized_weights_are_not_to_be_dropped(tmp_path: Path) -> None:
    def net() -> nn.Module:
        return Layers(a=linear(8, 8), b=linear(8, 8))

    state = {key: value.to(torch.float8_e4m3fn) for key, value in net().state_dict().items()}
    state |= {f"{key}_scale_inv": torch.ones(1, 1) for key in state}
    text = str(checked(tmp_path, state, net))
    assert (
        "CK102, CK203: multiply the weights by their scales while loading (migrate=), or load it with the "
        "quantization it was saved with"
    ) in text
    assert "drop it" not in text


# -- statistics and positions ----------------------------------------------------------------------


@pytest.mark.parametrize("affine", [True, False])
def test_a_missing_counter_of_a_batch_norm_is_harmless(tmp_path: Path, affine: bool) -> None:
    def net() -> nn.Module:
        return Layers(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4, affine=affine))

    state = net().state_dict()
    del state["norm.num_batches_tracked"]
    text = str(checked(tmp_path, state, net))
    assert (
        "CK101: give it 0 while loading (migrate=): it only counts, and outputs do not depend on it" in text
    )


@pytest.mark.parametrize(
    ("before", "after", "advice"),
    [
        (
            197,
            196,
            "cut off the row of the class token while loading (migrate=): the others are the same grid",
        ),
        (196, 197, "add a row for the class token while loading (migrate=): the others are the same grid"),
        (
            197,
            577,
            "interpolate it but for the class token's row while loading (migrate=), or build the model "
            "for the "
            "old size",
        ),
        (196, 576, "interpolate it while loading (migrate=), or build the model for the old size"),
        (198, 578, "interpolate it but for the two tokens' rows while loading (migrate=), or build"),
        (198, 197, "cut off the row of one token while loading (migrate=): the others are the same grid"),
        (196, 198, "add 2 rows for tokens while loading (migrate=): the others are the same grid"),
        (512, 2048, "build the model for the old size, or fill it while loading (migrate=): the rows of a"),
        (128, 127, "build the model for the old size, or fill it while loading (migrate=): the rows of a"),
    ],
)
def test_a_class_token_is_no_position(tmp_path: Path, before: int, after: int, advice: str) -> None:
    def net(rows: int) -> nn.Module:
        made = Layers(mid=nn.Linear(8, 8), head=nn.Linear(8, 2))
        made.register_parameter("pos_embed", nn.Parameter(torch.zeros(1, rows, 8)))
        return made

    text = str(checked(tmp_path, net(before).state_dict(), lambda: net(after)))
    assert f"CK201: {advice}" in text


# -- the order of parts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joint", "parts", "sure"),
    [
        ("gate_up_proj", ("gate_proj", "up_proj"), "certain"),
        ("up_gate_proj", ("gate_proj", "up_proj"), "ambiguous"),  # another order than the code's
        ("fc1", ("gate_proj", "up_proj"), "ambiguous"),  # no word says that it is theirs
        ("film", ("film_shift", "film_scale"), "likely"),
        ("kv", ("k", "v"), "certain"),
        ("qkv", ("q", "k", "v"), "certain"),
    ],
)
@pytest.mark.parametrize("split", [True, False])
def test_the_order_of_parts_is_certain_only_where_names_say_it(
    joint: str, parts: tuple[str, ...], sure: str, split: bool
) -> None:
    """flash-attn joins up and gate in this order: the wrong one loads, and computes something else."""
    around = {"emb": linear(4, 8), "norm": nn.LayerNorm(8), "down": linear(16, 8)}
    whole = Layers(**around, **{joint: linear(8, 16 * len(parts))})
    divided = Layers(**around, **{part: linear(8, 16) for part in parts})
    sides = (whole, divided) if split else (divided, whole)
    old, new = (ckpt.define(lambda side=side: side) for side in sides)
    (change,) = ckpt.diff(old, new).changes
    assert change.kind == ("split" if split else "fused")
    assert change.confidence == sure
    told = "the names do not say in which order the parts stand" in change.evidence
    assert told == (joint in ("up_gate_proj", "film"))
