"""A weight in other terms is the same weight: for every layer and form of torch's, added or taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import pytest_ckpt_compat as ckpt

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
}
_PRUNE: Any = prune
_OLD: Any = weight_norm
#: How a layer is reparametrized -> the beginning of the advice on a file that is, for a plain layer.
FORMS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "weight_norm": (weight_norm, "compute weight from weight_g and weight_v"),
    "weight_norm of all": (lambda m: _OLD(m, dim=None), "compute weight from weight_g and weight_v"),
    "weight_norm, new": (parametrizations.weight_norm, "load it into layers that have the parametrization"),
    "spectral_norm": (spectral_norm, "divide weight_orig by its spectral norm"),
    "spectral_norm, new": (
        parametrizations.spectral_norm,
        "load it into layers that have the parametrization",
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


def model(layer: str, wrap: Callable[[nn.Module], nn.Module] = lambda m: m) -> nn.Module:
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
