"""What is left over in a file and is no layer that was removed; optimizers of others, and of parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._definition.find import find
from tests.test_causes_of_values import Layers, checked


def net() -> nn.Module:
    return Layers(encoder=nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)), head=nn.Linear(8, 2))


def under(prefix: str) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in net().state_dict().items()}


# -- held twice ------------------------------------------------------------------------------------


def test_a_module_that_the_file_holds_twice_is_safe_to_drop(tmp_path: Path) -> None:
    old = net()
    old.add_module("decoder", Layers(encoder=old.encoder))  # type: ignore[arg-type]
    text = str(checked(tmp_path, old.state_dict(), net))
    row = "- decoder.*   4 tensors   one and the same as encoder.*: safe to drop"
    assert row in text
    assert "put the layer back" not in text


def test_a_module_of_equal_numbers_is_not_the_same(tmp_path: Path) -> None:
    old = net()
    old.add_module("decoder", Layers(encoder=net().encoder))  # type: ignore[arg-type]
    assert "safe to drop" not in str(checked(tmp_path, old.state_dict(), net))


# -- the model under a prefix, beside something else -----------------------------------------------


def test_weights_of_a_loss_do_not_make_the_models_prefix_doubtful(tmp_path: Path) -> None:
    verdict = checked(tmp_path, {**under("model."), "criterion.weight": torch.ones(2)}, net)
    renamed = [each for each in verdict.changes if each.kind == "renamed"]
    assert len(renamed) == 6
    assert {each.confidence for each in renamed} == {"certain"}
    assert (
        'CK103: register it with strip_prefix="model.", if the program loads it so, or take "model." off '
        "while loading (migrate=)"
    ) in str(verdict)
    assert [each.old for each in verdict.changes if each.kind == "unexpected"] == [("criterion.weight",)]


def test_a_prefix_of_a_part_of_the_definition_stays_as_likely_as_it_is(tmp_path: Path) -> None:
    state = {**under("model."), "criterion.weight": torch.ones(2)}
    del state["model.head.bias"]
    assert "strip_prefix" not in str(checked(tmp_path, state, net))


# -- what is no weight -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["weight_fake_quant.scale", "activation_post_process.min_val"])
def test_observers_of_quantization_aware_training_are_named(tmp_path: Path, key: str) -> None:
    text = str(checked(tmp_path, {**net().state_dict(), f"head.{key}": torch.ones(1)}, net))
    assert "of quantization-aware training" in text
    assert (
        "CK102: prepare the model as it was trained (prepare_qat) before the load, or drop these keys" in text
    )


def test_the_markers_of_fairseq_are_named(tmp_path: Path) -> None:
    markers = {"encoder.version": torch.ones(1), "encoder.embed_positions._float_tensor": torch.ones(1)}
    text = str(checked(tmp_path, {**net().state_dict(), **markers}, net))
    assert "CK102: drop the key while loading (migrate=): outputs do not depend on it" in text
    assert "put the layer back" not in text
    del markers["encoder.embed_positions._float_tensor"]
    assert "a marker of fairseq" not in str(checked(tmp_path, {**net().state_dict(), **markers}, net))


@pytest.mark.parametrize(
    ("equal", "told"), [(True, "with these values: safe to drop"), (False, "other values")]
)
def test_a_buffer_that_another_module_has_now_is_found(tmp_path: Path, equal: bool, told: str) -> None:
    """RoPE's frequencies moved from each layer into one module, which does not save them."""

    class Rotary(nn.Module):
        def __init__(self, persistent: bool) -> None:
            super().__init__()
            self.register_buffer("inv_freq", 1 / 10.0 ** torch.arange(4), persistent)

    def model(old: bool) -> nn.Module:
        made = Layers(layers=nn.ModuleList(Layers(q=nn.Linear(8, 8)) for _ in range(2)))
        for each in made.layers if old else [made]:  # type: ignore[union-attr]
            each.add_module("rotary", Rotary(old))
        return made

    state = model(True).state_dict()
    if not equal:
        state = {key: value + 1 if "inv_freq" in key else value for key, value in state.items()}
    text = str(checked(tmp_path, state, lambda: model(False)))
    assert f"rotary.inv_freq here, persistent=False, {'' if equal else 'with '}{told}" in text
    assert "put the layer back" not in text


def test_a_sparse_tensor_is_told_in_one_line(tmp_path: Path) -> None:
    def made() -> nn.Module:
        module = net()
        module.register_buffer("adj", torch.zeros(4, 4))
        return module

    text = str(checked(tmp_path, {**made().state_dict(), "adj": torch.eye(4).to_sparse()}, made))
    assert "adj is sparse in the file and dense here" in text
    assert "CK401: make adj dense while loading (migrate=), by to_dense(), or keep it sparse here" in text
    assert "While copying" not in text


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state")
@pytest.mark.parametrize(
    ("layout", "turned"),
    [
        ("coo", "to_sparse(layout=torch.sparse_coo), or"),
        ("csr", "to_sparse(layout=torch.sparse_csr) with as many elements as here, or"),
    ],
)
def test_a_dense_tensor_for_a_sparse_one_is_told_in_one_line(
    tmp_path: Path, layout: str, turned: str
) -> None:
    def made() -> nn.Module:
        module = net()
        module.register_buffer("adj", torch.eye(4).to_sparse(layout=getattr(torch, f"sparse_{layout}")))
        return module

    text = str(checked(tmp_path, {**made().state_dict(), "adj": torch.eye(4)}, made))
    assert "adj is dense in the file and sparse here" in text
    assert f"CK401: make adj sparse while loading (migrate=), by {turned} keep it dense here" in text
    assert "While copying" not in text


@pytest.mark.parametrize("keys", [("codes",), ("codes", "more")])
def test_tensors_that_cannot_be_copied_are_told_once_for_a_reason(
    tmp_path: Path, keys: tuple[str, ...]
) -> None:
    def made(dtype: torch.dtype) -> nn.Module:
        module = net()
        for key in keys:
            module.register_buffer(key, torch.empty(4, dtype=dtype))
        return module

    verdict = checked(tmp_path, made(torch.uint8).state_dict(), lambda: made(torch.bits8))
    text = str(verdict)
    reason = """cannot be copied: "copy_" not implemented for 'Bits8'"""
    if len(keys) == 1:
        assert text.startswith(f"CK401 {tmp_path}/run.pt: codes {reason}\n")
        assert f"\n  ! codes   {reason}\n" in text
    else:
        assert text.startswith(f"CK401 {tmp_path}/run.pt: 2 tensors {reason}\n")
        assert text.count(reason) == 2
    assert "While copying" not in text
    assert all(c.detail.startswith("While copying") for c in verdict.changes if c.kind == "load-raises")


# -- optimizers ------------------------------------------------------------------------------------


def resume(
    folder: Path, state: Mapping[str, Any], make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
) -> ckpt.Verdict:
    torch.save({"model": net().state_dict(), "optimizer": state}, folder / "run.pt")
    structure, definition = ckpt.read(folder / "run.pt", "model"), find(net)
    verdict = check_structure(structure, definition, Policy())
    return resumed(verdict, definition, lambda model: make(model.parameters()), Policy())


def kept(**fields: Any) -> dict[str, Any]:
    """The state of an optimizer that keeps these for a parameter; None for a tensor of its shape."""
    model = net()
    state = torch.optim.AdamW(model.parameters()).state_dict()
    state["state"] = {
        number: {name: torch.zeros(each.shape) if value is None else value for name, value in fields.items()}
        for number, each in enumerate(model.parameters())
    }
    return state


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"exp_avg": None}, " (Lion)"),
        ({"step": 1, "state1": None, "state2": None}, " (of bitsandbytes)"),
        (
            {"state1": None, "qmap1": torch.zeros(256), "absmax1": torch.zeros(1)},
            " (8-bit, of bitsandbytes)",
        ),
        ({"step": 1, "hessian": None}, ""),
    ],
)
def test_an_optimizer_of_another_package_is_named(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    (change,) = resume(tmp_path, kept(**fields)).changes
    assert change.detail.endswith(f": another optimizer{named} than AdamW")
    assert change.detail.startswith("the file holds ")


def test_a_state_with_more_than_the_optimizer_needs_is_its_own(tmp_path: Path) -> None:
    fields = {"step": torch.tensor(1.0), "exp_avg": None, "exp_avg_sq": None, "extra": None}
    assert resume(tmp_path, kept(**fields)).compatible


def test_the_parameters_of_a_backbone_that_was_frozen_are_named(tmp_path: Path) -> None:
    """Which of them the file has, the shapes of their states show."""
    model = net()
    optimizer = torch.optim.AdamW(model.head.parameters())  # type: ignore[union-attr]
    for each in model.head.parameters():  # type: ignore[union-attr]
        each.grad = torch.zeros_like(each)
    optimizer.step()
    verdict = resume(tmp_path, optimizer.state_dict())
    assert {each.new[0] for each in verdict.changes} == {
        f"encoder.{number}.{name}" for number in (0, 1) for name in ("weight", "bias")
    }
    assert "group 0 has 2 parameters in the file and 6 here" in str(verdict)


def test_parameters_that_the_shapes_leave_open_are_not_named(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.zeros(8))  # two biases have this shape
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.zeros(8)
    optimizer.step()
    (change,) = resume(tmp_path, optimizer.state_dict()).changes
    assert (change.old, change.new) == ((), ())
