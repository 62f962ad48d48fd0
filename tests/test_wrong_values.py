"""Values of a wrong kind, in calls and in files, are mistakes that a message of one line explains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import NoBaselineError, ReadError, UsageError
from pytest_ckpt_compat._core.structure import SNAPSHOT
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.lightning import kept
from pytest_ckpt_compat._definition.resume import resume
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    states = {name: {"net": nn.Linear(2, 2).state_dict()} for name in ("old", "new")}
    torch.save(states, tmp_path / "two.pt")
    return tmp_path / "two.pt"


@pytest.mark.parametrize("given", [{"key": 3}, {"kwargs": 3}, {"strip_prefix": 3}, {"kwargs": ["a"]}])
def test_arguments_of_check(path: Path, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=rf"check\(\), option {name}: is .*; it must be"):
        ckpt.check(path, nn.Linear, **given)


def test_a_part_that_is_there_twice(path: Path) -> None:
    """The advice is one that works."""
    parts = {"net": nn.Linear(2, 2)}
    with pytest.raises(ReadError, match=r'name the part by its whole path, "old\.net" or "new\.net"'):
        ckpt.check(path, parts)
    assert ckpt.check(path, {"new.net": nn.Linear(2, 2)}).compatible
    assert ckpt.check(path, parts, key="new").compatible


@pytest.mark.parametrize("key", ["nothing", "new.net"])
def test_a_key_that_holds_no_parts(path: Path, key: str) -> None:
    told = f"parts 'net' at key='{key}'; it holds old.net, new.net;"
    with pytest.raises(ReadError, match=told):
        ckpt.check(path, {"net": nn.Linear(2, 2)}, key=key)


def test_a_part_that_the_snapshot_lacks(pytester: pytest.Pytester) -> None:
    """Nothing is known of the file."""
    table = '[[tool.ckpt_compat.checkpoint]]\nid = "a"\npath = "two.pt"\n'
    state = nn.Linear(2, 2).state_dict()
    torch.save({"a": state, "b": state}, pytester.path / "two.pt")
    pytester.makepyfile(models="from torch import nn\ndef net(): return nn.Linear(2, 2)")
    pytester.makepyprojecttoml(table + 'model = {a = "models:net"}')
    pytester.syspathinsert()
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    (pytester.path / "two.pt").unlink()
    pytester.makepyprojecttoml(table + 'model = {a = "models:net", b = "models:net"}')
    printed = pytester.runpytest_inprocess("-q").stdout.str()
    assert "b: the snapshot has no state_dict of this name; if the file has one, record it again" in printed
    assert "the file has no state_dict" not in printed


def _lightning() -> Any:
    return pytest.importorskip("lightning.pytorch", reason="is the oracle")


def _module(optimizer: bool = False) -> Any:
    pl = _lightning()

    class Lit(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.net = nn.Linear(width, 2)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters()) if optimizer else None

    return Lit


def _written(folder: Path, **others: Any) -> Path:
    pl = _lightning()
    state = _module()().state_dict()
    whole = {
        "state_dict": state,
        "pytorch-lightning_version": pl.__version__,
        "lr_schedulers": [],
        "loops": {},
    }
    torch.save({**whole, **others}, folder / "lit.ckpt")
    return folder / "lit.ckpt"


@pytest.mark.filterwarnings("ignore")
def test_hyper_parameters_without_a_name(tmp_path: Path) -> None:
    path = _written(tmp_path, hyper_parameters={1: 2, "": 4, "width": 3})
    assert ckpt.check(path, _module()).compatible
    assert _module().load_from_checkpoint(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", ["- 1\n", "", "3\n"])
def test_an_hparams_file_without_names(tmp_path: Path, text: str) -> None:
    path, file = _written(tmp_path), tmp_path / "hparams.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match="not names and values; check the file"):
        ckpt.check(path, _module(), {"hparams_file": str(file)})


@pytest.mark.parametrize("as_snapshot", [False, True], ids=["file", "snapshot"])
def test_a_trainer_without_optimizers(tmp_path: Path, as_snapshot: bool) -> None:
    """It writes an empty list, which is not a file without weights alone."""
    structure = read(_written(tmp_path, optimizer_states=[]))
    if as_snapshot:
        structure = fingerprint.loads(fingerprint.dumps(structure, kept(structure.values, True), True), "s")
        assert structure.source.format == SNAPSHOT
    definition = find(_module(True))
    verdict = check_structure(structure, definition, Policy())
    verdict = resumed(verdict, definition, None, Policy())
    assert "save_weights_only" not in str(verdict)
    assert "gives 1 optimizer, the file has 0 states: the others start anew" in str(verdict)


def test_a_snapshot_that_was_not_recorded_to_resume(tmp_path: Path) -> None:
    """It does not say that the file was saved with save_weights_only=True."""
    structure = read(_written(tmp_path, optimizer_states=[]))
    structure = fingerprint.loads(fingerprint.dumps(structure, kept(structure.values), False), "s")
    with pytest.raises(NoBaselineError, match="its snapshot holds no optimizer state"):
        resume(structure, find(_module(True)), None, {})


@pytest.mark.filterwarnings("ignore")
def test_a_prefix_that_cannot_be_looked_for_is_not_a_matter_of_the_budget(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="loads the model")
    sizes = {"n_embd": 8, "n_head": 2, "vocab_size": 11, "n_positions": 8}
    made = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1, **sizes))
    made.save_pretrained(tmp_path)
    verdict = ckpt.check(tmp_path, transformers.GPT2LMHeadModel, {"n_layer": 2})
    assert not verdict.compatible
    assert "memory_budget" not in str(verdict)
