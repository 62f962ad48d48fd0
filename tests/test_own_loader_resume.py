"""Level ``resume`` with a project's own loader: the optimizer is one over the module that it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Net
from tests.test_levels import stepped


def load(path: Any, body: str = "body", classes: int = 4) -> nn.Module:
    model = Net(classes, body)
    saved = torch.load(path)["state_dict"]
    state = {key.removeprefix("module.").replace("body.", f"{body}."): value for key, value in saved.items()}
    model.load_state_dict(state)
    return model


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


def fused(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), fused=True)


def fewer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(list(model.parameters())[:2])


def exchanged(model: Any) -> torch.optim.Optimizer:
    first, second = (name for name, _ in model.named_children())
    parts = [getattr(model, second), getattr(model, first)]
    return torch.optim.Adam([parameter for part in parts for parameter in part.parameters()])


def named(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.named_parameters())


@pytest.fixture(scope="module", params=["numbered", "named"])
def path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    net = Net()
    optimizer = stepped(net) if request.param == "numbered" else named(net)
    if request.param == "named":
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    file = tmp_path_factory.mktemp("run") / "run.pt"
    torch.save({"state_dict": state, "optimizer": optimizer.state_dict()}, file)
    return file


def really(path: Path, factory: Any, kwargs: dict[str, Any]) -> bool:
    """Torch's own word, and whether each state has the shape of its parameter."""
    try:
        model = load(path, **kwargs)
        optimizer = factory(model.parameters() if factory is torch.optim.Adam else model)
        optimizer.load_state_dict(torch.load(path)["optimizer"])
    except (RuntimeError, ValueError):
        return False
    owned = [p for group in optimizer.param_groups for p in group["params"]]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    order = [names[id(parameter)] for parameter in owned] == list(names.values())
    return order and all(optimizer.state[each]["exp_avg"].shape == each.shape for each in owned)


def checked(path: Path, factory: Any, kwargs: dict[str, Any], there: bool) -> Verdict:
    structure = read(path)
    if not there:
        structure = fingerprint.loads(fingerprint.dumps(structure, optimizers=True), "s")
    definition = find(None, kwargs, load=load, path=str(path) if there else "gone.pt")
    verdict = check_structure(structure, definition, Policy())
    return resumed(verdict, definition, factory, Policy(), structure)


@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
@pytest.mark.parametrize(
    ("factory", "kwargs"),
    [
        (adam, {}),
        (torch.optim.Adam, {}),
        (fused, {}),
        (named, {}),
        (fewer, {}),
        (exchanged, {}),
        (adam, {"body": "trunk"}),
        (exchanged, {"body": "trunk"}),
    ],
)
def test_the_verdict_is_torchs(path: Path, factory: Any, kwargs: dict[str, Any], there: bool) -> None:
    verdict = checked(path, factory, kwargs, there)
    assert verdict.compatible is really(path, factory, kwargs), str(verdict)


def test_a_load_that_fails_stays_what_it_is(path: Path) -> None:
    verdict = checked(path, adam, {"classes": 5}, there=True)
    assert not verdict.compatible
    assert verdict.changes[0].rule == "CK906"
    assert "load tests.test_own_loader_resume.load: gives no module (RuntimeError" in str(verdict)
    assert any(change.rule == "CK202" for change in verdict.changes)
