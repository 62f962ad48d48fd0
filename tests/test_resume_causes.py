"""What a resume says of the optimizer that was saved, and of what lies beside it in the same file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._definition.find import find

Make = Callable[[Any], torch.optim.Optimizer]

MAKES: dict[str, Make] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    **{
        name: getattr(torch.optim, name)
        for name in (
            "Adadelta",
            "Adagrad",
            "Adam",
            "AdamW",
            "Adamax",
            "ASGD",
            "NAdam",
            "RAdam",
            "RMSprop",
            "Rprop",
        )
    },
}


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def saved(tmp_path: Path, make: Make, **more: Any) -> Path:
    model = net()
    optimizer = make(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **more}, tmp_path / "run.pt"
    )
    return tmp_path / "run.pt"


def resume(path: Path, make: Make) -> ckpt.Verdict:
    structure, definition = ckpt.read(path, "model"), find(net)
    verdict = check_structure(structure, definition, Policy())
    return resumed(verdict, definition, lambda model: make(model.parameters()), Policy())


def torch_resumes(path: Path, make: Make) -> bool:
    model = net()
    optimizer = make(model.parameters())
    try:
        optimizer.load_state_dict(torch.load(path)["optimizer"])
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("now", MAKES)
@pytest.mark.parametrize("then", MAKES)
def test_the_state_of_another_optimizer_is_named(tmp_path: Path, then: str, now: str) -> None:
    path = saved(tmp_path, MAKES[then])
    verdict = resume(path, MAKES[now])
    assert verdict.compatible is torch_resumes(path, MAKES[now])
    told = [change.detail for change in verdict.changes]
    if verdict.compatible:
        assert told == []
    else:
        assert len(told) == 1
        assert told[0].startswith("the file holds ")
        assert f" {then}" in told[0].replace("(", " ").replace(")", " ")
        assert told[0].endswith(f"than {now}")


def beside(tmp_path: Path, **more: Any) -> tuple[list[str], tuple[str, ...]]:
    verdict = resume(saved(tmp_path, MAKES["Adam"], **more), MAKES["Adam"])
    return [change.detail for change in verdict.changes], verdict.notes


def schedule(groups: int) -> dict[str, Any]:
    parameters = [{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(groups)]
    return torch.optim.lr_scheduler.StepLR(torch.optim.SGD(parameters, lr=0.1), 2).state_dict()


def test_a_schedule_has_a_rate_for_each_group(tmp_path: Path) -> None:
    changes, notes = beside(tmp_path, scheduler=schedule(1))
    assert changes == []
    assert notes == ("scheduler: settings of a schedule, which were not loaded",)
    assert beside(tmp_path, lr_schedulers=[schedule(2)])[0] == [
        "lr_schedulers.0 has rates for 2 parameter groups, today's optimizer has 1"
    ]


def test_a_scaler_is_loaded_into_torchs_own(tmp_path: Path) -> None:
    state = torch.amp.GradScaler("cpu").state_dict()
    assert beside(tmp_path, scaler=state) == ([], ())
    assert beside(tmp_path, scaler={}) == (
        [
            "scaler: GradScaler.load_state_dict raises RuntimeError: The source state dict is empty, "
            "possibly because it was saved from a disabled instance of GradScaler."
        ],
        (),
    )
    del state["growth_factor"], state["_growth_tracker"]
    assert beside(tmp_path, settings=state) == ([], ()), "not a scaler's"


def test_averaged_weights_have_the_tensors_of_the_model(tmp_path: Path) -> None:
    average = AveragedModel(net()).state_dict()
    assert beside(tmp_path, swa_model=average) == ([], ())
    assert beside(tmp_path, ema=net().state_dict()) == ([], ())
    other = copy.deepcopy(dict(average))
    other["module.1.bias"] = torch.zeros(2)
    del other["module.0.bias"]
    assert beside(tmp_path, swa_model=other)[0] == [
        "swa_model has the keys of the model, with 1 tensor of another shape (1.bias float32[2] instead of "
        "float32[1]), 1 tensor missing (0.bias): a resume loads it, too"
    ]
    assert beside(tmp_path, teacher=other) == ([], ()), "another model may have other sizes"
    assert beside(tmp_path, ema={"decay": 0.99}) == ([], ())
