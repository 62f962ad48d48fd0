"""Definitions: built without weights, whatever their constructors do, and nothing global touched."""

from __future__ import annotations

import functools
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError, UsageError
from pytest_ckpt_compat._definition.build import build, build_real
from pytest_ckpt_compat._definition.find import find


class UsesItem(nn.Module):
    """Reads numbers of its own while it is built, as stochastic depth does."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = [x.item() for x in torch.linspace(0, 0.5, 4)]
        self.layer = nn.Linear(4, 4)


class ReadsItsWeights(nn.Module):
    """Cannot live with parameters that have no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.scale = float(self.layer.weight.abs().max().item())


class Tied(nn.Module):
    """Embedding and decoder share a weight; so do two names for one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.decoder = nn.Linear(3, 5, bias=False)
        self.decoder.weight = self.embed.weight
        shared = nn.Parameter(torch.ones(2))
        self.a = shared
        self.b = shared


class Lazy(nn.Module):
    """Sizes that the first input decides."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(3)


class Meddler(nn.Module):
    """Changes everything global that a constructor can get at."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        sys.path.insert(0, "/nowhere")
        self.layer = nn.Linear(2, 2)


class Hooked(nn.Module):
    """Loads with a hook that reads numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self._register_load_state_dict_pre_hook(self._positive)  # type: ignore[no-untyped-call]

    def _positive(self, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
        if state_dict[prefix + "layer.weight"].sum().item() < 0:
            del state_dict[prefix + "layer.weight"]


class Lenient(nn.Module):
    """Loads what fits and says nothing about the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.head = nn.Linear(2, 3)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        own = self.state_dict()
        fitting = {k: v for k, v in state_dict.items() if k in own and own[k].shape == v.shape}
        return super().load_state_dict({**own, **fitting}, strict, assign)


def tensors_of(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


@pytest.mark.parametrize("model", [UsesItem, ReadsItsWeights, Tied, Lazy, lambda: nn.BatchNorm1d(3)])
def test_no_weight_is_allocated(model: Any) -> None:
    module = build(find(model))
    assert all(tensor.is_meta for tensor in tensors_of(module))


@pytest.mark.parametrize("model", [UsesItem, ReadsItsWeights, Tied, lambda: nn.BatchNorm1d(3)])
def test_the_structure_is_what_state_dict_says(model: Any) -> None:
    structure = ckpt.define(model)
    wanted = {key: (str(value.dtype), tuple(value.shape)) for key, value in model().state_dict().items()}
    assert {key: (f"torch.{s.dtype}", s.shape) for key, s in structure.tensors.items()} == wanted


def test_tied_weights_stay_tied() -> None:
    assert ckpt.define(Tied).aliases == (("a", "b"), ("embed.weight", "decoder.weight"))


def test_a_large_model_takes_no_memory() -> None:
    structure = ckpt.define(lambda: nn.Sequential(*[nn.Linear(20_000, 20_000) for _ in range(200)]))
    assert sum(spec.nbytes for spec in structure.tensors.values()) > 300e9


def test_an_instance_is_copied_and_left_alone() -> None:
    net = Tied()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert ckpt.define(net).aliases == ckpt.define(Tied).aliases
    real = build_real(find(net))
    nn.init.zeros_(real.embed.weight)  # type: ignore[arg-type, union-attr]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(tensor.is_meta for tensor in tensors_of(net))


def test_building_leaves_global_state_alone() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    wanted = torch.rand(3), random.random(), np.random.rand()
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    path, modes = list(sys.path), torch._C._len_torch_function_stack()

    ckpt.define(Meddler)

    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch._C._len_torch_function_stack() == modes
    assert torch.is_grad_enabled()
    assert sys.path == path
    found = torch.rand(3), random.random(), np.random.rand()
    assert torch.equal(found[0], wanted[0])
    assert found[1:] == wanted[1:]


def test_the_projects_default_device_is_as_before_afterwards() -> None:
    torch.set_default_device("cpu:0")
    try:
        ckpt.define(Meddler)
        assert torch.get_default_device() == torch.device("cpu:0")
    finally:
        torch.set_default_device(None)


def test_registering_a_parameter_is_as_before_afterwards() -> None:
    register = nn.Module.register_parameter
    ckpt.define(UsesItem)
    with pytest.raises(BuildError):
        ckpt.define(lambda: nn.Linear(-1, "x"))  # type: ignore[arg-type]
    assert nn.Module.register_parameter is register
    assert not nn.Linear(2, 2).weight.is_meta


def test_a_lazy_layer_takes_any_shape(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.ones(3, 9), "layer.bias": torch.ones(3)}, tmp_path / "net.pt")
    assert ckpt.check(tmp_path / "net.pt", Lazy).compatible


@pytest.mark.parametrize("sign", [1, -1])
def test_a_hook_that_reads_numbers_is_given_them(tmp_path: Path, sign: int) -> None:
    path = tmp_path / "net.pt"
    torch.save({"layer.weight": sign * torch.ones(2, 2), "layer.bias": torch.ones(2)}, path)
    verdict = ckpt.check(path, Hooked)
    assert verdict.compatible is (sign > 0)
    assert verdict.notes == ("the definition's loading code reads numbers: checked with the real weights",)


def test_a_hook_that_reads_numbers_cannot_be_judged_from_a_snapshot(tmp_path: Path) -> None:
    from dataclasses import replace

    from pytest_ckpt_compat._check.check import check_structure
    from pytest_ckpt_compat._core.changes import Policy

    path = tmp_path / "net.pt"
    torch.save({"layer.weight": torch.ones(2, 2), "layer.bias": torch.ones(2)}, path)
    snapshot = replace(ckpt.read(path), locations={})
    with pytest.raises(NoBaselineError, match="check against the checkpoint file itself, not a snapshot"):
        check_structure(snapshot, find(Hooked), Policy())


def test_a_load_that_silently_skips_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    state = {"layer.weight": torch.ones(2, 2), "layer.bias": torch.ones(2), "head.weight": torch.ones(9, 2)}
    torch.save(state, path)
    verdict = ckpt.check(path, Lenient)
    assert verdict.compatible
    partial = [change for change in verdict.changes if change.kind == "partial-load"]
    assert [(change.rule, change.new) for change in partial] == [("CK402", ("head.weight", "head.bias"))]


def test_a_hook_that_raises_is_reported_with_all_else(tmp_path: Path) -> None:
    class Raises(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self._register_load_state_dict_pre_hook(self._fail)  # type: ignore[no-untyped-call]

        def _fail(self, *_: object) -> None:
            raise KeyError("old_name")

    path = tmp_path / "net.pt"
    torch.save({"layer.weight": torch.ones(3, 3)}, path)
    verdict = ckpt.check(path, Raises)
    kinds = {change.kind: change for change in verdict.changes}
    assert set(kinds) == {"load-raises", "resized", "missing"}
    assert "KeyError: 'old_name'" in kinds["load-raises"].detail
    assert "test_definition.py" in kinds["load-raises"].detail


@pytest.mark.parametrize("bad", [3, "models", "models:", ":Net", None])
def test_what_is_no_model(bad: object) -> None:
    with pytest.raises(UsageError):
        ckpt.define(bad)


def test_kwargs_go_with_a_class_and_not_with_an_instance() -> None:
    assert len(ckpt.define("torch.nn:Linear", {"in_features": 2, "out_features": 3}).tensors) == 2
    with pytest.raises(UsageError, match="kwargs were given with a model instance"):
        ckpt.define(nn.Linear(2, 2), {"bias": False})


class Holds(nn.Module):
    """A module with one given buffer."""

    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("a", tensor)


def _kinds() -> dict[str, torch.Tensor]:
    dense = torch.eye(3)
    return {
        "dense": dense,
        "float8": dense.to(torch.float8_e4m3fn),
        "complex": dense.to(torch.complex64),
        "bool": dense.bool(),
        "quantized": torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8),
        "sparse": dense.to_sparse(),
    }


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch calls quantized tensors deprecated
    KINDS = _kinds()


@pytest.mark.parametrize("old", KINDS)
@pytest.mark.parametrize("new", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_any_kind_of_tensor_into_any_other_is_torchs_word(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "net.pt"
    torch.save({"a": KINDS[old]}, path)
    try:
        Holds(KINDS[new].clone()).load_state_dict(torch.load(path, weights_only=True))
        loads = True
    except RuntimeError:
        loads = False
    verdict = ckpt.check(path, lambda: Holds(KINDS[new].clone()))
    # A cast that loses what was trained is a break for which torch does not raise.
    errors = [each for each in verdict.of(Severity.ERROR) if each.kind != "retyped"]
    assert (not errors) is loads


def test_one_storage_under_two_parameters_is_a_tie() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            data = torch.ones(3, 3)
            self.a = nn.Parameter(data)
            self.b = nn.Parameter(data)
            self.register_buffer("c", data.detach())
            self.register_buffer("row", data[0])

    assert ckpt.define(Shared).aliases == (("a", "b", "c"),)


def test_a_hook_that_hides_its_want_of_numbers_is_given_them(tmp_path: Path) -> None:
    class Hides(Hooked):
        def _positive(self, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
            try:
                state_dict[prefix + "layer.weight"].sum().item()
            except RuntimeError:
                state_dict[prefix + "layer.weight"] = torch.ones(9, 9)

    path = tmp_path / "net.pt"
    torch.save({"layer.weight": torch.ones(2, 2), "layer.bias": torch.ones(2)}, path)
    assert ckpt.check(path, Hides).compatible


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.filterwarnings("ignore")
def test_torchscript_inside_a_model(tmp_path: Path, how: str) -> None:
    def model(size: int = 3) -> nn.Module:
        inner = nn.Linear(size, 3)
        trace: Any = torch.jit.trace
        scripted = torch.jit.script(inner) if how == "script" else trace(inner, torch.ones(1, size))
        return nn.Sequential(scripted, nn.Linear(3, 3))

    torch.save(model().state_dict(), tmp_path / "net.pt")
    assert ckpt.check(tmp_path / "net.pt", model).compatible
    assert not ckpt.check(tmp_path / "net.pt", model, {"size": 4}).compatible


@pytest.mark.filterwarnings("ignore")
def test_packed_parameters_of_a_quantized_layer_load(tmp_path: Path) -> None:
    quantize: Any = torch.ao.quantization.quantize_dynamic

    def model() -> Any:
        return quantize(nn.Sequential(nn.Linear(3, 3)), {nn.Linear})

    torch.save(model().state_dict(), tmp_path / "net.pt")
    assert ckpt.check(tmp_path / "net.pt", model).compatible


@functools.cache
def decorated() -> nn.Module:
    return nn.Linear(2, 2)


def test_the_line_of_a_definition_is_where_its_own_code_is() -> None:
    lines = Path(__file__).read_text().splitlines()
    begins = {UsesItem: "class UsesItem(nn.Module):", decorated: "@functools.cache"}
    for target, text in begins.items():
        file, _, number = find(target).where.rpartition(":")
        assert Path(file).name == Path(__file__).name
        assert lines[int(number) - 1] == text
