"""Causes that the rest of a layer shows: its statistics, its adapter, or a number that is no tensor here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.changes import moves


def text_of(tmp_path: Path, state: Mapping[str, Any], module: nn.Module) -> str:
    torch.save(state, tmp_path / "net.pt")
    return str(ckpt.check(tmp_path / "net.pt", lambda: module))


def normed(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm)


def test_statistics_under_the_names_of_keras_are_renames(tmp_path: Path) -> None:
    net = nn.ModuleDict({"norm": nn.BatchNorm2d(8), "conv": nn.Conv2d(8, 8, 3)})
    state = net.state_dict()
    names = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    old = {key: value for key, value in state.items() if key.startswith("conv.")}
    old |= {f"norm.{other}": state[f"norm.{name}"] for name, other in names.items()}
    torch.save(old, tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", lambda: net)
    found = {pair for each in verdict.changes for pair in moves(each)}
    assert found == {(f"norm.{other}", f"norm.{name}") for name, other in names.items()}, str(verdict)


def test_a_layer_without_statistics_is_not_given_defaults(tmp_path: Path) -> None:
    text = text_of(tmp_path, normed(nn.GroupNorm(2, 8)).state_dict(), normed(nn.BatchNorm2d(8)))
    assert "the checkpoint's layer has no statistics: it was no BatchNorm2d" in text
    assert "default" not in text


def test_a_layer_that_moved_on_is_none_without_statistics(tmp_path: Path) -> None:
    def net(*norm: type[nn.Module]) -> nn.Module:
        sizes = ((3, 16), (16, 32), (32, 32))
        layers = [[nn.Conv2d(*s, 3), *(kind(s[1]) for kind in norm), nn.ReLU()] for s in sizes]
        return nn.Sequential(*(layer for each in layers for layer in each))

    text = text_of(tmp_path, net().state_dict(), net(nn.BatchNorm2d))
    assert "4.* -> 6.*" in text or "{2,4}.* -> {3,6}.*" in text
    assert "no statistics" not in text
    assert "put the old layer back" not in text


def test_a_bias_is_not_dropped_for_an_rms_norm(tmp_path: Path) -> None:
    text = text_of(tmp_path, normed(nn.LayerNorm(8)).state_dict(), normed(nn.RMSNorm(8)))
    assert "- 1.bias   float32[8]   of a layer that is an RMSNorm now" in text
    assert "put the old layer back (as a LayerNorm)" in text
    assert "drop it" not in text


def test_a_layer_norm_does_not_get_a_default_for_an_rms_norms_weight(tmp_path: Path) -> None:
    text = text_of(tmp_path, normed(nn.RMSNorm(8)).state_dict(), normed(nn.LayerNorm(8)))
    assert "it was an RMSNorm, or a LayerNorm without bias" in text
    assert "put an RMSNorm back if it was one" in text


def test_a_counter_alone_is_harmless(tmp_path: Path) -> None:
    state = normed(nn.BatchNorm2d(8)).state_dict()
    state.pop("1.num_batches_tracked")
    assert "outputs do not depend on it" in text_of(tmp_path, state, normed(nn.BatchNorm2d(8)))


def test_a_folded_layer_is_folded_and_not_dropped(tmp_path: Path) -> None:
    old = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)).state_dict()
    text = text_of(tmp_path, old, nn.Sequential(nn.Conv2d(3, 8, 3)))
    assert "fold the BatchNorm into the layer before it" in text
    assert "drop it" not in text
    kept = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict()
    assert "fold the" not in text_of(tmp_path, kept, nn.Sequential(nn.Conv2d(3, 8, 3)))


def factors(down: str, up: str) -> dict[str, torch.Tensor]:
    return {f"0.{down}": torch.zeros(2, 8), f"0.{up}": torch.zeros(8, 2)}


def test_loralib_is_merged_by_its_own_means(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(8, 8))
    text = text_of(tmp_path, {**net.state_dict(), **factors("lora_A", "lora_B")}, net)
    assert "CK108: add lora_B @ lora_A" in text
    assert "merge_and_unload" not in text


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("lora_A.weight", "lora_B.weight"), "load the adapter with peft"),
        (("lora_down.weight", "lora_up.weight"), "add lora_up @ lora_down"),
    ],
)
def test_an_adapter_alone_needs_its_base(tmp_path: Path, names: tuple[str, str], words: str) -> None:
    state = {**factors(*names), "0.alpha": torch.tensor(2.0)}
    text = text_of(tmp_path, state, nn.Sequential(nn.Linear(8, 8)))
    assert "the file is an adapter alone: load the base model first" in text
    assert words in text
    assert "default" not in text
    assert "drop it" not in text


def test_a_base_goes_into_a_definition_with_an_adapter(tmp_path: Path) -> None:
    class Lora(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 8)
            self.lora_A, self.lora_B = nn.Parameter(torch.zeros(2, 8)), nn.Parameter(torch.zeros(8, 2))

    text = text_of(tmp_path, nn.Sequential(nn.Linear(8, 8)).state_dict(), nn.Sequential(Lora()))
    assert "of an adapter that the checkpoint has not" in text
    assert "take the layer out" not in text


def test_a_trained_number_that_is_a_constant_here(tmp_path: Path) -> None:
    net = nn.Linear(4, 4)
    net.scale = 2.65  # type: ignore[assignment]
    text = text_of(tmp_path, {**net.state_dict(), "scale": torch.tensor(4.6)}, net)
    assert "- scale   float32[]   a float 2.65 here, which the load does not set" in text
    assert "drop it" not in text


class Apart(nn.Module):
    """Convolutions first and then their norms, as a constructor lists them by kind."""

    def __init__(self, folded: bool) -> None:
        super().__init__()
        for n in range(3):
            self.add_module(f"conv{n}", nn.Conv2d(4, 4, 3, bias=folded))
        for n in range(0 if folded else 3):
            self.add_module(f"bn{n}", nn.BatchNorm2d(4))


def test_norms_that_stand_apart_are_folded_each_into_its_own_layer(tmp_path: Path) -> None:
    torch.save(Apart(False).state_dict(), tmp_path / "net.pt")
    changes = ckpt.check(tmp_path / "net.pt", lambda: Apart(True)).changes
    told = {each.old[0].partition(".")[0]: each.detail for each in changes if each.kind == "unexpected"}
    assert told == {f"bn{n}": f"a BatchNorm, folded into conv{n} here" for n in range(3)}


def test_another_model_without_norms_is_not_told_as_fused(tmp_path: Path) -> None:
    torch.save(Apart(False).state_dict(), tmp_path / "net.pt")
    other = ckpt.check(tmp_path / "net.pt", lambda: nn.ModuleDict({"stem": nn.Conv2d(3, 9, 3)}))
    assert not any("fuse" in each.advice for each in other.changes)
