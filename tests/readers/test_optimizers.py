"""What is recorded beside the tensors: optimizer states and views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import OptimizerState, TensorSpec
from pytest_ckpt_compat._readers import read
from tests.readers.agreement import spec


def trained(kind: Any, **options: Any) -> tuple[torch.nn.Module, Any]:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    groups = [{"params": net[0].parameters()}, {"params": net[1].parameters(), "lr": 0.5}]
    optimizer = kind(groups, lr=0.1, **options)
    net(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    return net, optimizer


def expected(state_dict: dict[str, Any]) -> OptimizerState:
    return OptimizerState(
        tuple(tuple(group["params"]) for group in state_dict["param_groups"]),
        {
            number: {name: spec(value) for name, value in fields.items() if isinstance(value, torch.Tensor)}
            for number, fields in state_dict["state"].items()
        },
    )


@pytest.mark.parametrize("name", ["Adam", "SGD", "Adagrad", "Adafactor"])
def test_agrees_with_torch(tmp_path: Path, name: str) -> None:
    if not hasattr(torch.optim, name):
        pytest.skip("torch has Adafactor since 2.5")
    net, optimizer = trained(getattr(torch.optim, name))
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "run.pt")
    found = read(tmp_path / "run.pt").optimizers
    assert found == {"optimizer": expected(optimizer.state_dict())}
    assert found["optimizer"].groups == ((0, 1), (2, 3))


def test_several_optimizers_and_those_of_lightning(tmp_path: Path) -> None:
    net, first = trained(torch.optim.Adam)
    second = trained(torch.optim.SGD, momentum=0.9)[1]
    states = [first.state_dict(), second.state_dict()]
    torch.save({"state_dict": net.state_dict(), "optimizer_states": states}, tmp_path / "run.ckpt")
    assert read(tmp_path / "run.ckpt").optimizers == {
        "optimizer_states.0": expected(states[0]),
        "optimizer_states.1": expected(states[1]),
    }


def test_parameters_by_name(tmp_path: Path) -> None:
    state = {"state": {"a.weight": {"step": torch.tensor(1.0)}}, "param_groups": [{"params": ["a.weight"]}]}
    torch.save({"model": {"a.weight": torch.ones(1)}, "optim": state}, tmp_path / "run.pt")
    assert read(tmp_path / "run.pt").optimizers["optim"].groups == (("a.weight",),)


def test_a_pickled_optimizer(tmp_path: Path) -> None:
    net, optimizer = trained(torch.optim.Adam)
    torch.save({"model": net.state_dict(), "optimizer": optimizer}, tmp_path / "run.pt")
    assert read(tmp_path / "run.pt").optimizers["optimizer"].groups == ((0, 1), (2, 3))


def test_what_is_no_optimizer_state(tmp_path: Path) -> None:
    others = {
        "a": {"state": {}, "param_groups": None},
        "b": {"state": 3, "param_groups": []},
        "c": {"state": {}},
    }
    torch.save({"model": {"w": torch.ones(1)}, **others}, tmp_path / "run.pt")
    assert read(tmp_path / "run.pt").optimizers == {}


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_ckpt_compat._readers.limits.OPTIMIZERS", 2)
    state: list[dict[str, Any]] = [{"state": {}, "param_groups": []} for _ in range(3)]
    torch.save({"model": {"w": torch.ones(1)}, "optimizers": state}, tmp_path / "run.pt")
    with pytest.raises(ReadError, match="its optimizer states"):
        read(tmp_path / "run.pt")


def test_views_are_recorded(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    other = torch.ones(2)
    state = {
        "base": base,
        "row": base[1],
        "turned": base.t(),
        "tied": other,
        "same": other,
        "own": torch.ones(1),
    }
    torch.save(state, tmp_path / "m.pt")
    structure = read(tmp_path / "m.pt")
    assert structure.views == (("base", "row", "turned"),)
    assert structure.aliases == (("tied", "same"),)
    assert structure.tensors["row"] == TensorSpec("float32", (6,))


@pytest.mark.filterwarnings("ignore")  # those of lightning
def test_a_checkpoint_of_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="writes the checkpoint")

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc, unused-ignore]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(2, width)

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            loss: torch.Tensor = self.layer(batch[0]).sum()
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.1)

    module = Module(3)
    trainer = lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 2))))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    structure = read(tmp_path / "run.ckpt")
    assert structure.source.container == "state_dict"
    assert list(structure.tensors) == ["layer.weight", "layer.bias"]
    assert structure.values["hyper_parameters"] == {"width": 3}
    assert structure.optimizers["optimizer_states.0"].groups == ((0, 1),)
