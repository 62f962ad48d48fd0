"""``load=`` for a file with several state_dicts: the loader takes what it wants of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pytest_ckpt_compat import check
from pytest_ckpt_compat._core.errors import BuildError
from tests.conftest import SETTINGS, Printed
from tests.repository import commit, edit, git

LOADING = """
import torch
from torch import nn

def encoder():
    return nn.Sequential(nn.Linear(4, 3))

def decoder():
    return nn.Sequential(nn.Linear(3, 2))

def load(path):
    saved = torch.load(path)
    model = nn.ModuleDict({"first": encoder(), "second": decoder()})
    model["first"].load_state_dict(saved["nets"]["encoder"])
    model["second"].load_state_dict(saved["nets"]["decoder"])
    return model

def optimizers(model):
    return [torch.optim.Adam(model["first"].parameters()), torch.optim.Adam(model["second"].parameters())]
"""
TABLE = """
[[tool.ckpt_compat.checkpoint]]
id = "pair"
path = "pair.pt"
load = "loading:load"
level = "full"

[[tool.ckpt_compat.checkpoint]]
id = "run"
path = "pair.pt"
load = "loading:load"
level = "resume"
optimizer = "loading:optimizers"
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(loading=LOADING)
    pytester.makepyprojecttoml(SETTINGS + TABLE)
    nets = {"encoder": nn.Sequential(nn.Linear(4, 3)), "decoder": nn.Sequential(nn.Linear(3, 2))}
    made = [torch.optim.Adam(net.parameters()) for net in nets.values()]
    nets["decoder"](nets["encoder"](torch.ones(4))).sum().backward()
    for optimizer in made:
        optimizer.step()
    states = {name: net.state_dict() for name, net in nets.items()}
    saved = {"nets": states, "optimizers": [optimizer.state_dict() for optimizer in made]}
    torch.save(saved, pytester.path / "pair.pt")
    return pytester


@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
def test_all_of_them_are_there(
    project: pytest.Pytester, command: Callable[..., Printed], there: bool
) -> None:
    printed = command("update")
    assert printed.code == 0, printed.out
    recorded = (project.path / "ckpt_snapshots" / "pair.json").read_text()
    assert '"nets.encoder.0.weight"' in recorded
    assert '"nets.decoder.0.weight"' in recorded
    if not there:
        (project.path / "pair.pt").unlink()
    printed = command("check")
    assert (printed.code, printed.out.count("4 tensors load")) == (0, 2), printed.out
    edit(project.path / "loading.py", "nn.Linear(3, 2)", "nn.Linear(3, 5)")
    printed = command("check")
    assert printed.code == 1, printed.out
    assert "CK202 pair: head resized" in printed.out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
def test_the_merge_bases_loader_gets_them_too(
    project: pytest.Pytester, command: Callable[..., Printed], there: bool
) -> None:
    git(project.path, "init", "-q", "-b", "main")
    command("update")
    commit(project.path)
    if not there:
        (project.path / "pair.pt").unlink()
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "other parts" not in printed.out
    edit(project.path / "loading.py", "nn.Linear(3, 2)", "nn.Linear(3, 5)")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert printed.out.startswith("breaks introduced here: ")


def test_a_snapshot_of_all_is_not_compared_with_one_model(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    command("update", "pair")
    (project.path / "pair.pt").unlink()
    one = TABLE.partition("\n\n")[0].replace('load = "loading:load"', 'model = "loading:encoder"')
    project.makepyprojecttoml(SETTINGS + one.replace('level = "full"', ""))
    printed = command("check")
    assert printed.code == 2, printed.out
    assert "was recorded for a model of other parts, or of none" in printed.out


def by_hand(path: str) -> nn.Module:
    """Takes a factor out of torch, and sets the parameters without ``load_state_dict``."""
    module, state = nn.Linear(2, 2), torch.load(path)
    total = float(np.sum(state["weight"].numpy()))
    module.weight.data = state["weight"] * total
    module.bias.data = state["bias"] * total
    return module


def test_a_loader_whose_numbers_cannot_be_followed_is_told_as_that(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "p.pt")
    with pytest.raises(BuildError, match="calls no load_state_dict, and takes numbers out of tensors"):
        check(tmp_path / "p.pt", load=by_hand)
