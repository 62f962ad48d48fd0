"""A weight in other terms is the same weight: for every layer and form of torch's, added or taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import (
    parametrizations,
    parametrize,
    prune,
    remove_spectral_norm,
    spectral_norm,
    weight_norm,
)

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._check.breaks import may_be_migrated
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._migrate import shapes
from pytest_ckpt_compat._readers import read

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")


class Scaled(nn.Module):
    """A parametrization with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.scale


class Positive(nn.Module):
    """One that has none."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.abs()


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(4, 4),
    "without bias": lambda: nn.Linear(4, 6, bias=False),
    "Conv1d": lambda: nn.Conv1d(4, 4, 3),
    "Conv2d": lambda: nn.Conv2d(4, 8, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 8, 3),
    "Embedding": lambda: nn.Embedding(7, 4),
    "one output": lambda: nn.Linear(4, 1),
    "square ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 4, 3),
}
_PRUNE: Any = prune
_OLD: Any = weight_norm
#: How a layer is reparametrized -> the beginning of the advice on a file that is, for a plain layer.
FORMS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "weight_norm": (weight_norm, "compute weight from weight_g and weight_v"),
    "weight_norm of all": (lambda m: _OLD(m, dim=None), "compute weight from weight_g and weight_v"),
    "weight_norm, new": (parametrizations.weight_norm, "load it into layers that have the parametrization"),
    "spectral_norm": (
        spectral_norm,
        "divide weight_orig by u . (W v), with the file's weight_u and weight_v",
    ),
    "spectral_norm, new": (
        parametrizations.spectral_norm,
        "divide the original by u . (W v), with the file's _u and _v",
    ),
    "orthogonal": (parametrizations.orthogonal, "load it into layers that have the parametrization"),
    "pruned": (lambda m: _PRUNE.l1_unstructured(m, "weight", 0.5), "multiply weight_orig by weight_mask"),
    "own": (
        lambda m: parametrize.register_parametrization(m, "weight", Scaled()),
        "load it into layers that have the parametrization",
    ),
    "own without parameters": (
        lambda m: parametrize.register_parametrization(m, "weight", Positive()),
        "load it into layers that have the parametrization",
    ),
}


def model(layer: str, wrap: Callable[[nn.Module], nn.Module] = lambda m: m) -> nn.Sequential:
    return nn.Sequential(wrap(LAYERS[layer]()), wrap(LAYERS[layer]()), nn.Linear(3, 3))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", FORMS)
def test_it_is_told_as_the_same_weight(tmp_path: Path, form: str, layer: str) -> None:
    wrap, advice = FORMS[form]
    for old, new, begins in (
        (wrap, lambda m: m, advice),
        (lambda m: m, wrap, "load the plain weight first"),
    ):
        torch.save(model(layer, old).state_dict(), tmp_path / "net.pt")
        verdict = ckpt.check(tmp_path / "net.pt", lambda wrap=new: model(layer, wrap))
        assert {change.kind for change in verdict.changes} == {"reparametrized"}
        assert all(change.advice.startswith(begins) for change in verdict.changes)


@pytest.mark.parametrize(
    ("wrap", "why"),
    [
        (spectral_norm, "outputs change, since the weight is divided by its spectral norm"),
        (parametrizations.spectral_norm, "outputs change, since the weight is divided by its spectral norm"),
        (parametrizations.orthogonal, "outputs change, since only an orthogonal weight remains"),
        (weight_norm, ""),
    ],
)
def test_what_a_parametrization_makes_of_a_plain_weight_is_said(
    tmp_path: Path, wrap: Callable[[nn.Module], nn.Module], why: str
) -> None:
    """Torch's own word: the layer gives other outputs once it is wrapped, or the same."""
    layer, given = nn.Linear(5, 5), torch.ones(1, 5)
    torch.save(nn.Sequential(layer).state_dict(), tmp_path / "net.pt")
    before = layer(given)
    assert torch.allclose(wrap(layer).eval()(given), before, atol=1e-5) is not bool(why)
    verdict = ckpt.check(tmp_path / "net.pt", lambda: nn.Sequential(wrap(nn.Linear(5, 5))))
    assert ("outputs change" in str(verdict)) is bool(why)
    assert why in str(verdict)


#: How spectral norm is put on a layer, and how torch takes it off.
SPECTRAL: dict[str, tuple[Callable[[nn.Module], nn.Module], Callable[[nn.Module], object]]] = {
    "old": (spectral_norm, remove_spectral_norm),
    "new": (
        parametrizations.spectral_norm,
        lambda layer: parametrize.remove_parametrizations(layer, "weight"),
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", SPECTRAL)
def test_spectral_norm_is_taken_off_as_torch_does_in_eval(tmp_path: Path, form: str, layer: str) -> None:
    """The weight is that by which the layer computes, not one divided by the exact spectral norm."""
    put_on, take_off = SPECTRAL[form]
    net = model(layer, put_on)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    sides = migration.compared(read(tmp_path / "net.pt"), find(lambda: model(layer)))
    found = migration.migration(sides, migration.planned(sides))
    assert found.complete, found.code
    made = proof.compiled(found.code, "migrate")(net.state_dict())
    net.eval()
    for each in list(net)[:2]:
        take_off(each)
    assert made.keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        assert torch.allclose(made[key], value, rtol=1e-6, atol=0), key


@pytest.mark.parametrize(
    ("u", "v", "main", "layer", "dim"),
    [
        ((8,), (27,), (8, 3, 3, 3), "", 0),
        ((4,), (72,), (8, 4, 3, 3), "", 1),
        ((8,), (72,), (8, 8, 3, 3), "", None),
        ((8,), (72,), (8, 8, 3, 3), "models.Conv", None),
        ((8,), (72,), (8, 8, 3, 3), "torch.nn.Conv2d", 0),
        ((8,), (72,), (8, 8, 3, 3), "torch.nn.ConvTranspose2d", 1),
        ((8,), (8,), (8, 8), "torch.nn.Linear", 0),
        ((8,), (9,), (8, 8), "torch.nn.Linear", None),
    ],
)
def test_the_dimension_of_spectral_norm(
    u: tuple[int, ...], v: tuple[int, ...], main: tuple[int, ...], layer: str, dim: int | None
) -> None:
    assert shapes.spectral_dim(u, v, main, layer) == dim


def test_where_no_code_can_be_written_no_command_is_named(tmp_path: Path) -> None:
    """Which map made a matrix orthogonal is in no file."""
    torch.save(model("Linear", parametrizations.orthogonal).state_dict(), tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", lambda: model("Linear"))
    assert not verdict.compatible
    assert not may_be_migrated(verdict)
    torch.save(model("Linear", weight_norm).state_dict(), tmp_path / "net.pt")
    assert may_be_migrated(ckpt.check(tmp_path / "net.pt", lambda: model("Linear")))
