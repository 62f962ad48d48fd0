"""Torch's word on definitions of which little can be known: by their state_dict, a copy or a lenient load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._definition.build import build_real
from pytest_ckpt_compat._definition.find import find

Model = Callable[[], nn.Module]


def saved(tmp_path: Path, state: Mapping[str, Any]) -> Path:
    torch.save(state, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def kinds(verdict: ckpt.Verdict) -> set[str]:
    return {change.kind for change in verdict.changes}


class NoArguments(nn.Linear):
    """Its state_dict takes no arguments, so that no module around it can call it."""

    def state_dict(self) -> Any:  # type: ignore[override]
        return super().state_dict()


class Around(nn.Module):
    """Torch loads into it, and saves nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = NoArguments(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("table", torch.zeros(2), persistent=False)


UNSAVED = (
    "state_dict() raised TypeError: NoArguments.state_dict() got an unexpected keyword argument "
    "'destination': no checkpoint of it can be saved"
)


@pytest.mark.parametrize("lacks", ["", "layer.bias"])
def test_a_definition_whose_state_dict_raises_is_loaded_as_any(tmp_path: Path, lacks: str) -> None:
    state = nn.ModuleDict({"layer": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2)}).state_dict()
    state.pop(lacks, None)
    path = saved(tmp_path, state)

    verdict = ckpt.check(path, Around)

    assert verdict.compatible is (lacks != "layer.bias")
    assert kinds(verdict) == ({"missing"} if lacks == "layer.bias" else set())
    assert verdict.notes == (UNSAVED,)
    large = check_structure(ckpt.read(path), find(Around), Policy(memory_budget=0))
    assert large.compatible is verdict.compatible
    assert "its state_dict() raises on tensors without numbers" in large.notes[0]
    with pytest.raises(ckpt.CkptCompatError, match="NoArguments"):
        ckpt.define(Around)


def test_a_copy_of_an_instance_can_be_written_to_where_the_instance_can(tmp_path: Path) -> None:
    expanded, free = nn.ParameterDict(), nn.ParameterDict()
    expanded["w"] = nn.Parameter(torch.zeros(1, 2).expand(3, 2))
    free["w"] = nn.Parameter(torch.zeros(3, 2))
    path = saved(tmp_path, {"w": torch.ones(3, 2)})

    assert not ckpt.check(path, expanded).compatible
    assert ckpt.check(path, free).compatible


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_copy_of_an_instance_shares_what_the_instance_shares_and_nothing_else() -> None:
    whole = torch.zeros(4, 2)
    net: Any = nn.Module()
    net.a, net.b = nn.Parameter(whole[:2]), nn.Parameter(whole[1:].t())
    net.register_buffer("quantized", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
    net.lazy = nn.UninitializedParameter()

    copy: Any = build_real(find(net))

    with torch.no_grad():
        copy.a.fill_(1)
    assert copy.b.stride() == net.b.stride()
    assert copy.b.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert not whole.any()
    assert torch.equal(copy.quantized.dequantize(), net.quantized.dequantize())
    assert copy.lazy is not net.lazy


class FreshState(nn.Module):
    """Its extra state is a new tensor at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def get_extra_state(self) -> torch.Tensor:
        return torch.ones(2)

    def set_extra_state(self, state: torch.Tensor) -> None:
        state + torch.ones(2)


class FreshTensors(nn.Linear):
    """Saves copies, as packed layers do."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.weight.detach().clone()


def sparse() -> nn.Module:
    net = nn.Module()
    net.register_buffer("table", torch.eye(2).to_sparse())
    return net


PREFIXED: dict[str, Model] = {
    "extra state": lambda: nn.ModuleDict({"net": FreshState()}),
    "fresh tensors": lambda: nn.ModuleDict({"net": FreshTensors(2, 2)}),
    "lazy": lambda: nn.ModuleDict({"net": nn.LazyLinear(2)}),
    "sparse": lambda: nn.ModuleDict({"net": sparse()}),
}


@pytest.mark.parametrize("name", PREFIXED)
def test_a_lenient_load_under_another_prefix_brings_in_nothing(tmp_path: Path, name: str) -> None:
    own = PREFIXED[name]().state_dict() if name != "lazy" else nn.Linear(3, 2).state_dict()
    other = {f"other.{key.removeprefix('net.')}": value for key, value in own.items()}

    assert "nothing-loaded" in kinds(ckpt.check(saved(tmp_path, other), PREFIXED[name], strict=False))

    right = {key.replace("other.", "net."): value for key, value in other.items()}
    assert "nothing-loaded" not in kinds(ckpt.check(saved(tmp_path, right), PREFIXED[name], strict=False))


def test_an_uninitialized_file_has_nothing_to_lose(tmp_path: Path) -> None:
    path = saved(tmp_path, {f"other.{key}": value for key, value in nn.LazyLinear(2).state_dict().items()})
    assert "nothing-loaded" not in kinds(ckpt.check(path, lambda: nn.Linear(2, 2), strict=False))
