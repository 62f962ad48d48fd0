"""What somebody new met in the first days: a dropped head, a replaced file, a norm that moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._core.outputs import drift
from tests.conftest import SETTINGS, Printed, save
from tests.repository import git
from tests.test_outputs import outputs_of
from tests.test_snapshots import change_model

Command = Callable[..., Printed]

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
"""
MIGRATION = """

def migrate(state_dict):
    return {key.replace("body.", "trunk."): value for key, value in state_dict.items()}
"""


@pytest.fixture
def recorded(project: pytest.Pytester, command: Command) -> pytest.Pytester:
    project.makepyprojecttoml(SETTINGS + ENTRY)
    assert command("update").code == 0
    return project


@pytest.mark.parametrize("strict", ["", "strict = false\n"], ids=["strict", "lenient"])
def test_an_update_beside_a_change_that_its_keys_say_in_full(
    recorded: pytest.Pytester, command: Command, strict: str
) -> None:
    recorded.makepyprojecttoml(SETTINGS + ENTRY + strict)
    change_model(recorded, "        self.head =", "        self.extra = nn.Linear(3, 3)\n        self.head =")
    printed = command("update")
    assert printed.code == (1 if not strict else 0)
    assert "failed" not in printed.out


def test_a_head_that_is_dropped_is_proven_by_the_load_that_is_registered(
    recorded: pytest.Pytester, command: Command
) -> None:
    change_model(recorded, "classes=4", "classes=5")
    choices = ("--choose", "head.weight=", "--choose", "head.bias=")
    printed = command("migrate", "net-v1", *choices)
    assert printed.code == 1
    assert "not proven: head.weight: the load refuses it (CK101 missing), and so for 1 other" in printed.err
    recorded.makepyprojecttoml(SETTINGS + ENTRY + "strict = false\n")
    printed = command("migrate", "net-v1", *choices)
    assert (printed.code, "not proven" in printed.err) == (0, False)


def test_a_file_that_was_replaced_is_not_said_to_lack_the_migration_of_the_earlier_one(
    recorded: pytest.Pytester, command: Command
) -> None:
    trunk = ENTRY + 'kwargs = { body = "trunk" }\n'
    models = recorded.path / "models.py"
    models.write_text(models.read_text() + MIGRATION)
    recorded.makepyprojecttoml(SETTINGS + trunk + 'migrate = "models:migrate"\n')
    assert command("update").code == 0
    snapshot = recorded.path / "ckpt_snapshots" / "net-v1.json"
    guarded = snapshot.read_text()
    assert "migrated" in guarded

    recorded.makepyprojecttoml(SETTINGS + trunk)
    assert "CK404" in command("check").out  # the earlier file needs it
    save(recorded.path / "net.pt", body="trunk")
    printed = command("check")
    assert (printed.code, "CK902" in printed.out, "CK404" in printed.out) == (1, True, False)
    command("update")
    assert snapshot.read_text() == guarded  # frozen, what it says of its migration too
    assert command("update", "net-v1").code == 0
    assert "migrated" not in snapshot.read_text()
    assert command("check").code == 0


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.out = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(torch.softmax(self.query(x) @ self.key(x).T, -1) @ x)


class Layer(nn.Module):
    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first, self.norm, self.attention = first, nn.LayerNorm(4), Attention()

    def forward(self, x: torch.Tensor) -> Any:
        return x + self.attention(self.norm(x)) if self.first else self.norm(x + self.attention(x))


class Scaled(Layer):
    def forward(self, x: torch.Tensor) -> Any:
        return x + self.attention(self.norm(x) * 2)


class Layers(nn.Module):
    def __init__(self, layer: Callable[[], nn.Module], times: int = 1) -> None:
        super().__init__()
        self.layers, self.times = nn.ModuleList([Layer(True), layer()]), times

    def forward(self, x: torch.Tensor) -> Any:
        for _ in range(self.times):
            for layer in self.layers:
                x = layer(x)
        return x


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("changed", [lambda: Layer(False), lambda: Scaled(True)], ids=["norm", "scale"])
def test_what_another_module_hands_over_is_not_laid_to_the_forward_of_the_one_that_gets_it(
    changed: Callable[[], nn.Module], times: int
) -> None:
    old, new = (
        outputs_of(lambda: Layers(lambda: Layer(True), times)),
        outputs_of(lambda: Layers(changed, times)),
    )
    found = drift(old, new)
    assert found is not None
    assert (found.module, found.given) == ("layers.1.attention", True)


def test_an_update_tells_the_snapshots_that_git_ignores(project: pytest.Pytester, command: Command) -> None:
    (project.path / "checkpoints").mkdir()
    (project.path / "net.pt").rename(project.path / "checkpoints" / "net.pt")
    table = '[[tool.ckpt_compat.checkpoint]]\npath = "checkpoints/net.pt"\nmodel = "models:Net"\n'
    project.makepyprojecttoml(SETTINGS + table)
    (project.path / ".gitignore").write_text("checkpoints/\n")
    assert "ignored" not in command("update").out  # no repository
    git(project.path, "init", "-q", "-b", "main")
    file = "ckpt_snapshots/checkpoints/net.pt.json"
    told = f"ignored   1 file by git, such as {file} (.gitignore:1: checkpoints/);"
    assert told in command("update").out
    project.runpytest_inprocess("--ckpt-update", "-q").stdout.fnmatch_lines([f"{told}*"])
    git(project.path, "add", "--force", "ckpt_snapshots")
    assert "ignored" not in command("update").out


def test_the_commands_of_git_name_a_folder_below_another(project: pytest.Pytester, command: Command) -> None:
    table = '[[tool.ckpt_compat.checkpoint]]\nid = "v1"\npath = "net.pt"\nmodel = "models:Net"\n'
    project.makepyprojecttoml(f"{SETTINGS}ckpt_snapshot_dir = 'data/snaps of v1'\n{table}")
    (project.path / ".gitignore").write_text("data\n")
    git(project.path, "init", "-q", "-b", "main")
    assert "commit with git add --force 'data/snaps of v1'," in command("update").out
    git(project.path, "add", "--force", "data/snaps of v1")
    project.makepyprojecttoml(f"{SETTINGS}ckpt_snapshot_dir = 'data/snaps of v1'\n")
    (project.path / "data" / "snaps of v1" / "v1.json").unlink()
    printed = command("retire", "v1", "--reason", "nobody loads it").err
    assert "if it was pruned, git restore 'data/snaps of v1/v1.json' first" in printed


def test_a_pattern_takes_snapshots_back_in(project: pytest.Pytester, command: Command) -> None:
    table = '[[tool.ckpt_compat.checkpoint]]\npath = "net.pt"\nmodel = "models:Net"\n'
    project.makepyprojecttoml(SETTINGS + table)
    (project.path / ".gitignore").write_text("*.json\n!ckpt_snapshots/**/*.json\n")
    git(project.path, "init", "-q", "-b", "main")
    command("update")
    assert "ignored" not in command("update").out
    (project.path / ".gitignore").write_text("*.json\n!ckpt_snapshots/definitions/*.json\n")
    assert "ignored   1 file by git, such as ckpt_snapshots/net" in command("update").out


@pytest.mark.parametrize("there", [True, False], ids=["loads", "does not"])
def test_before_the_first_update_a_check_says_whether_it_loads(
    project: pytest.Pytester, command: Command, there: bool
) -> None:
    """Once, with the command that records it; what does not load is a break, as it would be later."""
    project.makepyprojecttoml(SETTINGS + ENTRY + ("" if there else "kwargs = { classes = 7 }\n"))
    printed = command("check")
    if not there:
        assert (printed.code, printed.out.startswith("breaks: 1\n\nCK202 net-v1: ")) == (1, True), printed.out
        return
    assert printed.code == 2
    assert printed.out == (
        "nothing breaks, not recorded yet: 1\n\n"
        "CK901 net-v1: loads, no snapshot of net.pt or of models.Net (models.py:5) has been recorded; "
        "run ckpt-compat update\n\n  net.pt -> models.Net (models.py:5)\n\n"
        "compared  1 checkpoint, 6 tensors\n"
    )
    (project.path / "net.pt").unlink()
    printed = command("check")
    assert (printed.code, printed.out.startswith("could not be checked: 1\n\nCK901 net-v1: ")) == (2, True)
    assert "loads" not in printed.out
