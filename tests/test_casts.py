"""Casts that torch makes without an error: named where they lose what was saved, else quiet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.dtypes import lost
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._report.text import headline

FP8 = torch.float8_e4m3fn


@pytest.mark.parametrize(
    ("key", "before", "after", "words", "breaks"),
    [
        ("w", "complex64", "float32", "discards the imaginary part", True),
        ("w", "complex128", "int64", "discards the imaginary part", True),
        ("w", "complex128", "complex64", "", False),
        ("w", "float32", "complex64", "", False),
        ("l.weight", "int8", "float32", "takes quantized numbers as they are", True),
        ("l.weight", "uint8", "bfloat16", "takes quantized numbers as they are", True),
        ("mask", "uint8", "float32", "", False),
        ("l.weight", "int64", "float32", "", False),
        ("steps", "float32", "int64", "cuts off the fraction", False),
        ("mask", "bfloat16", "bool", "keeps only whether it is zero", False),
        ("mask", "int64", "bool", "keeps only whether it is zero", False),
        ("mask", "uint8", "bool", "", False),
        ("w", "float32", "float16", "", False),
        ("w", "bfloat16", "float32", "", False),
        ("w", "float8_e4m3fn", "float32", "", False),
        ("n", "int64", "int32", "", False),
    ],
)
def test_what_a_cast_loses(key: str, before: str, after: str, words: str, breaks: bool) -> None:
    found, advice = lost(key, TensorSpec(before, (4, 4)), TensorSpec(after, (4, 4)))
    assert (found, bool(advice)) == (words, breaks)


def test_a_vector_of_small_integers_is_no_weight() -> None:
    assert lost("weight", TensorSpec("int8", (4,)), TensorSpec("float32", (4,))) == ("", "")


def net(hook: Callable[..., None] | None = None) -> Callable[[], nn.Module]:
    def model() -> nn.Module:
        module = nn.Linear(4, 4, bias=False)
        if hook:
            cast(Any, module).register_load_state_dict_pre_hook(hook)
        return module

    return model


def checked(tmp_path: Path, state: Mapping[str, Any], model: Any, **options: Any) -> ckpt.Verdict:
    torch.save(state, tmp_path / "net.pt")
    return ckpt.check(tmp_path / "net.pt", model, **options)


def drop(_module: Any, state: dict[str, Any], *_: Any) -> None:
    del state["weight_scale"]


def dequantize(_module: Any, state: dict[str, Any], *_: Any) -> None:
    state["weight"] = state["weight"].to(torch.float32) * state.pop("weight_scale")


@pytest.mark.parametrize("dtype", [FP8, torch.int8, torch.uint8])
@pytest.mark.parametrize("strict", [True, False])
def test_scales_that_are_dropped_are_a_break_and_those_that_are_used_are_none(
    tmp_path: Path, dtype: torch.dtype, strict: bool
) -> None:
    state = {"weight": torch.ones(4, 4).to(dtype), "weight_scale": torch.ones(1)}
    for hook in (None, drop):
        verdict = checked(tmp_path, state, net(hook), strict=strict)
        assert not verdict.compatible
        assert "multiply the weights by their scales" in str(verdict)
        assert "drop it" not in str(verdict)
    assert headline(checked(tmp_path, state, net(dequantize))).endswith("2 tensors load")


@pytest.mark.parametrize(
    "name", ["weight_scale_inv", "scale", "input_scale", "weight_zero_point", "scale_weight"]
)
def test_names_of_scales(tmp_path: Path, name: str) -> None:
    state = {"weight": torch.ones(4, 4).to(FP8), name: torch.ones(1)}
    assert "float32[1]   says how float8_e4m3fn weights" in str(checked(tmp_path, state, net()))


def test_a_scale_beside_an_ordinary_weight_is_a_tensor_like_any_other(tmp_path: Path) -> None:
    verdict = checked(tmp_path, {"weight": torch.ones(4, 4), "weight_scale": torch.ones(1)}, net())
    assert "- weight_scale   float32[1]\n" in str(verdict)


def test_weights_of_few_bits_without_scales_are_quiet(tmp_path: Path) -> None:
    verdict = checked(tmp_path, {"weight": torch.ones(4, 4).to(FP8)}, net())
    assert headline(verdict).endswith("1 tensor loads, cast from float8_e4m3fn to float32")


def test_a_lost_imaginary_part_is_a_break_unless_a_hook_converts_it(tmp_path: Path) -> None:
    state = {"weight": torch.ones(4, 4, dtype=torch.complex64)}
    for strict in (True, False):
        verdict = checked(tmp_path, state, net(), strict=strict)
        assert not verdict.compatible
        assert "weight complex64 -> float32 discards the imaginary part" in headline(verdict)

    def real(_module: Any, given: dict[str, Any], *_: Any) -> None:
        given["weight"] = given["weight"].abs()

    assert headline(checked(tmp_path, state, net(real))).endswith("1 tensor loads")
