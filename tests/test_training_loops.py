"""``log_fingerprint`` in trainings that run: it logs what the training saves, and changes nothing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.training_runs import FILE, parsed
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Printed
from tests.test_training_runs import offline, registered, store  # noqa: F401

PAGE = (Path(__file__).parent.parent / "docs" / "training_runs.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The code of the page that has a name."""
    (code,) = re.findall(rf"<!-- {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


def logged(folder: Path) -> ckpt.Structure:
    path = folder / FILE
    return fingerprint.loads(path.read_text(encoding="utf-8"), str(path))


def same(first: ckpt.Structure, second: ckpt.Structure) -> bool:
    """Whether two structures are one, with the states of their optimizers."""
    one, two = (fingerprint.digest(each, optimizers=True) for each in (first, second))
    return one == two and first.optimizers == second.optimizers


def trained(code: str, folder: Path) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Runs a loop of the page over three batches, from one beginning."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    batches = [(torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])) for _ in range(3)]
    exec(
        code,
        {
            "torch": torch,
            "ckpt": ckpt,
            "run": folder,
            "model": model,
            "optimizer": optimizer,
            "batches": batches,
        },
    )
    return model, optimizer


def test_a_plain_loop_goes_on_as_without(tmp_path: Path) -> None:
    model, optimizer = trained(block("loop"), tmp_path)
    without = re.sub(r"    if step == 0:\n.*?\n", "", block("loop"))
    assert "log_fingerprint" not in without
    plain, _ = trained(without, tmp_path / "none")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert model.training
    assert not (tmp_path / "none").exists()
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "net.pt")
    assert same(logged(tmp_path), ckpt.read(tmp_path / "net.pt", "state_dict"))


LIT = """
import lightning
import torch
from torch import nn


class Lit(lightning.LightningModule):
    def __init__(self, hidden=5):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(3, hidden)
        self.norm = nn.BatchNorm1d(hidden)

    def training_step(self, batch, number):
        return self.norm(self.layer(batch)).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(8, 3), batch_size=4)
"""


def fit(project: pytest.Pytester, logger: Any, code: str, saved: Path) -> None:
    """Trains the page's way, two steps, and saves a checkpoint."""
    lightning = pytest.importorskip("lightning", reason="the library is the oracle")
    project.makepyfile(lit=LIT)
    project.syspathinsert()
    import lit  # type: ignore[import-not-found]

    names: dict[str, Any] = {"lightning": lightning, "ckpt": ckpt}
    exec(code, names)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=logger,
        callbacks=[names["LogFingerprint"]()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=project.path,
    )
    trainer.fit(lit.Lit(hidden=7))
    trainer.save_checkpoint(saved)


@pytest.mark.filterwarnings("ignore")  # those of lightning
def test_a_callback_logs_what_lightning_saves(project: pytest.Pytester, tmp_path: Path) -> None:
    from_folder = block("callback").replace("trainer.logger", "trainer.log_dir")
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason="the library is the oracle")
    fit(project, loggers.CSVLogger(tmp_path, name="run", version=0), from_folder, tmp_path / "last.ckpt")
    found, saved = logged(tmp_path / "run" / "version_0"), ckpt.read(tmp_path / "last.ckpt")
    assert same(found, saved)
    assert json.loads((tmp_path / "run" / "version_0" / FILE).read_text())["values"]
    with pytest.raises(ckpt.CkptCompatError, match="cannot store a fingerprint in CSVLogger"):
        fit(project, loggers.CSVLogger(tmp_path), block("callback"), tmp_path / "other.ckpt")


@pytest.mark.filterwarnings("ignore")  # those of lightning
def test_the_run_of_a_callback_is_checked(
    project: pytest.Pytester,
    command: Callable[..., Printed],
    store: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason="the library is the oracle")
    logger = loggers.MLFlowLogger("classifier", tracking_uri=store.get_tracking_uri())
    fit(project, logger, block("callback"), tmp_path / "last.ckpt")
    registered(project, "mlflow:classifier", "lit:Lit")
    printed = command("check")
    assert printed.code == 0, printed.out + printed.err
    assert "7 tensors load" in printed.out  # those of a model of its own size
    (project.path / "lit.py").write_text(LIT.replace("self.norm", "self.bn"), encoding="utf-8")
    sys.modules.pop("lit")
    printed = command("check")
    assert printed.code == 1
    assert "~ norm.* -> bn.*" in printed.out


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # those of wandb
def test_a_run_of_wandb_that_is_offline_or_disabled(offline: Any) -> None:  # noqa: F811
    run = offline.init(project="classifier")  # whose entity is known when it is synchronized
    try:
        address = ckpt.log_fingerprint(run, nn.Linear(2, 2))
    finally:
        run.finish()
    assert address == f"wandb:ENTITY/classifier/{run.id}"
    assert parsed(address).run == run.id
    disabled = offline.init(mode="disabled")
    assert ckpt.log_fingerprint(disabled, nn.Linear(2, 2)).startswith("wandb:")
    disabled.finish()
