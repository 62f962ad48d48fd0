"""``ckpt-compat migrate --style hook`` where a load takes some values from the model itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import Printed

Command = Callable[..., Printed]

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)
        HOOKS
"""
GIVES = """self.scale = nn.Parameter(torch.ones(4))
        self.register_load_state_dict_pre_hook(give)


def give(module, state_dict, prefix, *_):
    state_dict.setdefault(prefix + "scale", VALUE)
"""


def migrated(folder: Path, command: Command, hooks: str) -> Printed:
    (folder / "models.py").write_text(MODELS.replace("HOOKS", hooks))
    return command("migrate", "old.pt", "models:Net", "--style", "hook", "--choose", "blocks=stages")


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """A file from before BatchNorm counted batches: torch gives the counter while it loads."""
    layers = nn.Module()
    layers.blocks = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    layers.head = nn.Linear(4, 2)
    state = {key: value for key, value in layers.state_dict().items() if "num_batches" not in key}
    torch.save(state, pytester.path / "old.pt")
    pytester.syspathinsert()
    return pytester.path


def test_a_counter_that_torch_gives_is_proven(folder: Path, command: Command) -> None:
    printed = migrated(folder, command, "")
    assert "not proven" not in printed.err
    assert (printed.code, printed.err) == (0, "ckpt-compat: 6 of 6 steps proven, loaded by the definition\n")


@pytest.mark.parametrize("value", ["module.state_dict()['scale']", "torch.zeros(4)"])
def test_what_a_hook_of_the_model_gives_is_proven(folder: Path, command: Command, value: str) -> None:
    printed = migrated(folder, command, GIVES.replace("VALUE", value))
    assert (printed.code, printed.err) == (0, "ckpt-compat: 6 of 6 steps proven, loaded by the definition\n")


def test_a_step_that_is_only_likely_is_not_reported_as_unproven(folder: Path, command: Command) -> None:
    (folder / "models.py").write_text(MODELS.replace("HOOKS", "").replace("stages", "trunk"))
    printed = command("migrate", "old.pt", "models:Net", "--style", "hook")
    assert "not proven" not in printed.err
