"""Level ``resume`` of a LightningModule says what ``Trainer.fit(ckpt_path=...)`` does; that is the oracle."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import NoBaselineError
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.lightning import kept
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import SETTINGS
from tests.repository import edit

pl = pytest.importorskip("lightning.pytorch", reason="is the oracle")

pytestmark = pytest.mark.filterwarnings("ignore")

optim, schedulers = torch.optim, torch.optim.lr_scheduler


class Base(pl.LightningModule):  # type: ignore[misc,name-defined]
    """Steps every optimizer, as a manual loop does."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.body, self.head = nn.Linear(3, width), nn.Linear(width, 2)

    def training_step(self, batch: Any, _number: int) -> None:
        self.head(self.body(batch)).sum().backward()
        made = self.optimizers()
        for optimizer in made if isinstance(made, list) else [made]:
            optimizer.step()
        found = self.lr_schedulers() or []
        for scheduler in found if isinstance(found, list) else [found]:
            scheduler.step()

    def train_dataloader(self) -> Any:
        return DataLoader(torch.ones(2, 3))  # type: ignore[arg-type]


class One(Base):
    def configure_optimizers(self) -> Any:
        return optim.Adam(self.parameters())


class Sgd(Base):
    def configure_optimizers(self) -> Any:
        return optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Two(Base):
    def configure_optimizers(self) -> Any:
        return [optim.Adam(self.body.parameters()), optim.Adam(self.head.parameters())]


class Exchanged(Base):
    def configure_optimizers(self) -> Any:
        return [optim.Adam(self.head.parameters()), optim.Adam(self.body.parameters())]


class Groups(Base):
    def configure_optimizers(self) -> Any:
        return optim.Adam([{"params": self.body.parameters()}, {"params": self.head.parameters()}])


class Scheduled(Base):
    def configure_optimizers(self) -> Any:
        optimizer = optim.Adam(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": schedulers.StepLR(optimizer, 3)}


class Lists(Base):
    def configure_optimizers(self) -> Any:
        optimizer = optim.Adam(self.parameters())
        return [optimizer], [{"scheduler": schedulers.StepLR(optimizer, 3), "interval": "step"}]


class Dicts(Base):
    def configure_optimizers(self) -> Any:
        optimizer = optim.Adam(self.parameters())
        return [{"optimizer": optimizer, "lr_scheduler": {"scheduler": schedulers.StepLR(optimizer, 3)}}]


class Cosine(Base):
    def configure_optimizers(self) -> Any:
        optimizer = optim.Adam(self.parameters())
        return [optimizer], [schedulers.CosineAnnealingLR(optimizer, 10)]


class AsksTheTrainer(Base):
    def configure_optimizers(self) -> Any:
        optimizer = optim.Adam(self.parameters())
        return [optimizer], [schedulers.StepLR(optimizer, 3 if self.trainer.max_steps else 1)]


class Wider(One):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.head = nn.Linear(width, 3)


class Own(schedulers.StepLR):
    """Saves and loads what it likes."""

    def state_dict(self) -> dict[str, Any]:
        return {"mine": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch = state_dict.get("mine", 0)


class OwnScheduler(Base):
    def configure_optimizers(self) -> Any:
        optimizer = optim.Adam(self.parameters())
        return [optimizer], [Own(optimizer, 3)]


class Anew(Groups):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["optimizer_states"] = []


class Edited(Groups):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for each in checkpoint["optimizer_states"]:
            each["param_groups"] = [*each["param_groups"], {}]


class Looks(One):
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert len(checkpoint["optimizer_states"]) == 1


SAVED = (One, Two, Scheduled, Groups)
NOW = (One, Sgd, Two, Exchanged, Groups, Scheduled, Lists, Dicts, Cosine, AsksTheTrainer, Wider, OwnScheduler)


def trainer(folder: Path, epochs: int, **options: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    where = {"accelerator": "cpu", "default_root_dir": folder, "logger": False}
    return pl.Trainer(max_epochs=epochs, **where, **quiet, **options)


def save(kind: Any, path: Path, weights_only: bool = False, **options: Any) -> Path:
    run = trainer(path.parent, 1, **options)
    run.fit(kind())
    run.save_checkpoint(path, weights_only=weights_only)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: save(kind, folder / f"{kind.__name__}.ckpt") for kind in SAVED}


def restored(path: Path, kind: Any) -> bool:
    """Lightning's own word: it resumes, takes every state of the file, and gives each optimizer one."""
    module = kind()
    file = torch.load(path, weights_only=False)
    seen: list[bool] = []

    class Look(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_start(self, run: Any, _module: Any) -> None:
            states = file["optimizer_states"]
            seen.append(len(run.optimizers) == len(states))
            for optimizer, state in zip(run.optimizers, states, strict=False):
                shapes = [p.shape for group in optimizer.param_groups for p in group["params"]]
                saved = [entry["exp_avg"].shape for entry in state["state"].values()]
                seen.append(shapes == saved)
            seen.append(len(run.lr_scheduler_configs) == len(file["lr_schedulers"]))
            for config, state in zip(run.lr_scheduler_configs, file["lr_schedulers"], strict=False):
                fresh = type(config.scheduler)(optim.SGD([torch.zeros(1)], lr=0.1), 3)
                seen.append(isinstance(fresh, Own) or state.keys() <= fresh.state_dict().keys())

    run = trainer(path.parent, 2, callbacks=[Look()])
    try:
        run.fit(module, ckpt_path=path, weights_only=False)
    except (RuntimeError, ValueError, KeyError):
        return False
    return all(seen)


def checked(path: Path, kind: Any, from_snapshot: bool = False) -> Verdict:
    structure = read(path)
    if from_snapshot:
        structure = fingerprint.loads(fingerprint.dumps(structure, kept(structure.values, True), True), "s")
    definition = find(kind)
    verdict = check_structure(structure, definition, Policy())
    return resumed(verdict, definition, None, Policy())


@pytest.mark.long
@pytest.mark.parametrize(("saved", "kind"), list(itertools.product(SAVED, NOW)))
def test_the_verdict_is_lightnings(files: dict[Any, Path], saved: Any, kind: Any) -> None:
    wanted = restored(files[saved], kind)
    for from_snapshot in (False, True):
        verdict = checked(files[saved], kind, from_snapshot)
        assert verdict.compatible is wanted, str(verdict)


@pytest.mark.parametrize(
    ("saved", "kind", "complaint"),
    [
        (
            Two,
            One,
            "One.configure_optimizers gives 1 optimizer, the file has 2 states: the other states",
        ),
        (
            One,
            Two,
            "Two.configure_optimizers gives 2 optimizers, the file has 1 state: the others start anew",
        ),
        (
            Scheduled,
            Cosine,
            "lr_scheduler 0 (CosineAnnealingLR): the state is of another scheduler, with",
        ),
        (Scheduled, One, "gives 0 lr_schedulers, the file has 1 state: the other states are dropped"),
        (One, Scheduled, "gives 1 lr_scheduler, the file has 0 states: the others start anew"),
        (One, Groups, "parameter groups 1 -> 2"),
    ],
)
def test_what_does_not_fit(files: dict[Any, Path], saved: Any, kind: Any, complaint: str) -> None:
    verdict = checked(files[saved], kind)
    assert not verdict.compatible
    assert complaint in str(verdict)


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        (Anew, "on_load_checkpoint drops the optimizer_states: the optimizers start anew"),
        (Edited, "on_load_checkpoint changes the optimizer_states: they were not checked"),
        (Looks, ""),
    ],
)
@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_hook_may_drop_the_states(
    files: dict[Any, Path], kind: Any, note: str, from_snapshot: bool
) -> None:
    if kind is Anew:
        trainer(files[One].parent, 2).fit(kind(), ckpt_path=files[One], weights_only=False)
    if from_snapshot and kind is not Anew:
        with pytest.raises(NoBaselineError, match="reads 'optimizer_states', which a snapshot does not keep"):
            checked(files[One], kind, from_snapshot)
        return
    verdict = checked(files[One], kind, from_snapshot)
    assert verdict.compatible, str(verdict)
    assert (note in verdict.notes) is bool(note)


def test_a_file_of_weights_alone(tmp_path: Path) -> None:
    path = save(Scheduled, tmp_path / "weights.ckpt", weights_only=True)
    with pytest.raises(KeyError, match="contains only the model"):
        trainer(tmp_path, 2).fit(Scheduled(), ckpt_path=path)
    for from_snapshot in (False, True):
        verdict = checked(path, Scheduled, from_snapshot)
        assert not verdict.compatible
        assert "the file has no optimizer_states: it was saved with save_weights_only=True" in str(verdict)


def test_states_of_no_optimizer_of_torch(files: dict[Any, Path], tmp_path: Path) -> None:
    file = torch.load(files[One], weights_only=False)
    file["optimizer_states"] = [{"own": 3}]
    torch.save(file, tmp_path / "own.ckpt")
    verdict = checked(tmp_path / "own.ckpt", One)
    assert verdict.compatible, str(verdict)
    told = "the optimizer_states are not those of torch's optimizers: they were not checked"
    assert told in verdict.notes


def test_a_snapshot_of_an_earlier_version_keeps_no_schedulers(files: dict[Any, Path]) -> None:
    structure = read(files[Scheduled])
    text = fingerprint.dumps(structure, kept(structure.values), True)
    definition = find(Cosine)
    verdict = check_structure(fingerprint.loads(text, "s"), definition, Policy())
    verdict = resumed(verdict, definition, None, Policy())
    assert verdict.compatible, str(verdict)
    assert "the snapshot keeps no lr_schedulers: record it again by its id to check them" in verdict.notes


def test_callbacks_are_the_trainers(tmp_path: Path) -> None:
    stop = pl.callbacks.EarlyStopping("loss", check_on_train_epoch_end=False)
    path = save(One, tmp_path / "one.ckpt", callbacks=[stop])
    for from_snapshot in (False, True):
        notes = checked(path, One, from_snapshot).notes
        told = "the state of the callbacks EarlyStopping was not checked: the Trainer has to be given them"
        assert told in notes, notes


def test_no_optimizer_is_needed_where_lightning_has_its_own(pytester: pytest.Pytester) -> None:
    models = """
import lightning.pytorch as pl
import torch
from torch import nn

class Lit(pl.LightningModule):
    def __init__(self, width=4):
        super().__init__()
        self.net = nn.Linear(3, width)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
"""
    entry = '\n[[tool.ckpt_compat.checkpoint]]\nid = "v1"\npath = "v1.ckpt"\nmodel = "lit:Lit"\n'
    entry += 'level = "resume"\n'
    pytester.makepyfile(lit=models)
    pytester.makepyprojecttoml(SETTINGS + entry)
    optimizer = optim.Adam((net := nn.Linear(3, 4)).parameters())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    checkpoint = {
        "state_dict": {f"net.{key}": value for key, value in net.state_dict().items()},
        "pytorch-lightning_version": pl.__version__,
        "hyper_parameters": {},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "loops": {},
    }
    torch.save(checkpoint, pytester.path / "v1.ckpt")
    pytester.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    (pytester.path / "v1.ckpt").unlink()
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    edit(pytester.path / "lit.py", "self.parameters()", "[self.net.weight]")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*! net.bias *the optimizer no longer has it"])
