"""``hparams_file`` among the kwargs means what it means in ``load_from_checkpoint``, which is the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.checkpoint import load
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry.registration import Registration

pl = pytest.importorskip("lightning.pytorch", reason="is the oracle")

pytestmark = pytest.mark.filterwarnings("ignore")


class Lit(pl.LightningModule):  # type: ignore[misc,name-defined]
    def __init__(self, width: int, classes: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(width, classes)


class Takes(Lit):
    """Has a parameter of this name."""

    def __init__(self, width: int = 3, hparams_file: str = "") -> None:
        super().__init__(width)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of width 3 without hyper-parameters, as Lightning's first versions wrote it."""
    state = Lit(3).state_dict()
    torch.save({"state_dict": state, "pytorch-lightning_version": pl.__version__}, tmp_path / "lit.ckpt")
    (tmp_path / "right.yaml").write_text("width: 3\n")
    (tmp_path / "right.csv").write_text("key,value\nwidth,3\n")
    (tmp_path / "wrong.yaml").write_text("width: 4\n")
    (tmp_path / "empty.yaml").write_text("{}\n")
    return tmp_path / "lit.ckpt"


@pytest.mark.parametrize("others", [{}, {"width": 3}, {"classes": 3}])
@pytest.mark.parametrize("file", ["right.yaml", "right.csv", "wrong.yaml", "empty.yaml"])
def test_the_verdict_is_lightnings(path: Path, file: str, others: dict[str, Any]) -> None:
    kwargs = {"hparams_file": str(path.parent / file), **others}
    try:
        wanted = bool(Lit.load_from_checkpoint(path, **kwargs))
    except (RuntimeError, TypeError):
        wanted = False
    try:
        found = ckpt.check(path, Lit, kwargs).compatible
    except ckpt.CkptCompatError:
        found = False
    assert found is wanted
    if wanted:
        loaded = load(Registration("lit", path, str(path), Lit, kwargs))
        assert isinstance(loaded, Lit)


def test_where_it_is_looked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ckpt.check(path, Lit, {"hparams_file": "right.yaml"}).compatible
    with pytest.raises(UsageError, match=r"kwargs, hparams_file gone\.yaml: is not there"):
        ckpt.check(path, Lit, {"hparams_file": "gone.yaml"})
    (path.parent / "right.txt").write_text("width: 3")
    with pytest.raises(UsageError, match=r"is neither \.csv nor \.yaml"):
        ckpt.check(path, Lit, {"hparams_file": "right.txt"})
    (path.parent / "broken.yaml").write_text("{")
    with pytest.raises(UsageError, match="cannot be read: "):
        ckpt.check(path, Lit, {"hparams_file": "broken.yaml"})
    monkeypatch.chdir(path.parent)
    assert not ckpt.check(path, Lit, {"hparams_file": "wrong.yaml"}).compatible


def test_an_argument_of_the_class_is_its_own(path: Path) -> None:
    assert ckpt.check(path, Takes, {"hparams_file": "any"}).compatible
