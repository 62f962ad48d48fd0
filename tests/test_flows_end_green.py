"""Flows that ended red, or in a loop, by the tool's own advice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._cli.convert_registered import _without_migration
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._snapshots import accepted
from tests.conftest import SETTINGS, Printed
from tests.repository import ENTRY, commit, edit, git, make_project
from tests.test_accept_many import TWO
from tests.test_review import Answer, answer
from tests.test_snapshots import change_model

Command = Callable[..., Printed]

__all__ = ["answer"]

RESUMED = """
[[tool.ckpt_compat.checkpoint]]
id = "run"
path = "run.pt"
model = "models:Net"
level = "resume"
optimizer = "models:adam"
migrate = "models:migrate"
"""
MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)

def adam(module):
    return torch.optim.Adam(module.parameters())

def migrate(state_dict):
    return {key.replace("body.", "trunk."): value for key, value in state_dict.items()}
"""


def accepted_rules(folder: Path) -> list[str]:
    return [entry.rule for entry in accepted.load(folder / "ckpt_snapshots")]


# -- accept ------------------------------------------------------------------------------------------------


def test_accept_all_passes_over_a_checkpoint_that_loads(project: pytest.Pytester, command: Command) -> None:
    """It was refused as a whole, and nothing was written for the one that fails."""
    project.makepyprojecttoml(SETTINGS + TWO)
    assert command("update").code == 0
    path = project.path / "pyproject.toml"
    path.write_text(path.read_text().rstrip() + "\nkwargs = { classes = 5 }\n")
    assert command("update").code == 1
    printed = command("accept", "net-v1", "net-v2", "--all", "--reason", "five classes")
    assert printed.code == 0, printed.err
    assert printed.out.splitlines()[-1] == "nothing of net-v1 fails: nothing was accepted for it"
    assert accepted_rules(project.path) == ["CK202"]
    printed = command("accept", "net-v1", "--all", "--reason", "five classes")
    assert printed.code == 2
    assert "accept net-v1: has nothing that fails and can be accepted; leave it out" in printed.err


def test_a_review_gives_what_it_accepts_a_last_day(
    project: pytest.Pytester, command: Command, answer: Answer
) -> None:
    project.makepyprojecttoml(SETTINGS + ENTRY)
    assert command("update").code == 0
    change_model(project, "classes=4", "classes=5")
    words = ("review", "--until", "2999-12-31")
    code, shown = answer("a", "the new task", words=words)
    assert code == 0, shown
    (entry,) = accepted.load(project.path / "ckpt_snapshots")
    assert (str(entry.until), entry.reason) == ("2999-12-31", "the new task")


def test_a_review_says_that_an_answer_was_no_rule(
    project: pytest.Pytester, command: Command, answer: Answer
) -> None:
    project.makepyprojecttoml(SETTINGS + ENTRY)
    assert command("update").code == 0
    change_model(project, "classes=4", "classes=5")
    change_model(project, "        self.head =", "        self.extra = nn.Linear(3, 3)\n        self.head =")
    shown = answer("a", "the new task", "q")[1]
    assert "that is none of CK202, CK101" in shown


@pytest.mark.usefixtures("earlier_code")
def test_a_review_against_a_reference_ends_with_the_check_against_it(
    pytester: pytest.Pytester, command: Command, answer: Answer
) -> None:
    folder = make_project(pytester.path)
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    edit(folder / "models.py", "classes=4", "classes=5")
    shown = answer("q", words=("review", "--against", "main"))[1]
    assert shown.rstrip().endswith("; run ckpt-compat check --against main to see how it stands"), shown


# -- the record of accepted breaks ---------------------------------------------------------------------------


def test_conflict_markers_among_accepted_breaks_are_named(project: pytest.Pytester, command: Command) -> None:
    """It said "is not TOML", and --verify was green over it."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    assert command("update").code == 0
    change_model(project, "classes=4", "classes=5")
    assert command("accept", "net-v1", "--all", "--reason", "five").code == 0
    assert command("update").code == 0
    assert command("update", "--verify").code == 0
    (name,) = accepted.names(project.path / "ckpt_snapshots")
    path = project.path / "ckpt_snapshots" / name
    path.write_text(path.read_text().replace("key = ", "<<<<<<< HEAD\nkey = ", 1))
    line = path.read_text().split("\n").index("<<<<<<< HEAD") + 1
    told = (
        f"ckpt_snapshots/{name}: has conflict markers (line {line}); "
        "ckpt-compat update keeps what both branches accepted"
    )
    assert told in command("check").out
    printed = command("update", "--verify")
    assert printed.code == 1
    assert f"unusable  {told}" in printed.out.splitlines()
    assert (command("update").code, "is missing or empty" in command("update").err) == (2, True)


def test_a_retired_checkpoint_that_comes_back_leaves_no_entry(
    pytester: pytest.Pytester, command: Command
) -> None:
    """It said that --ckpt-prune takes the entry out, and nothing did."""
    folder = make_project(pytester.path, ENTRY + ENTRY.replace("net-v1", "other"))
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    settings = folder / "pyproject.toml"
    before = settings.read_text()
    settings.write_text(SETTINGS + ENTRY)
    assert command("retire", "other", "--reason", "gone").code == 0
    settings.write_text(before)
    assert command("update").code == 0
    assert "CK903" not in command("check").out
    assert accepted_rules(folder) == []


# -- recording ---------------------------------------------------------------------------------------------


def test_an_update_records_a_migration_beside_an_optimizer_that_does_not_fit(
    pytester: pytest.Pytester, command: Command
) -> None:
    """It was recorded only by one more update, once the other break was accepted; nothing said so."""
    model = nn.ModuleDict({"body": nn.Linear(3, 3), "head": nn.Linear(3, 2)})
    few = torch.optim.Adam(model["head"].parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    few.step()
    torch.save({"state_dict": model.state_dict(), "optimizer": few.state_dict()}, pytester.path / "run.pt")
    (pytester.path / "models.py").write_text(MODELS)
    (pytester.path / "pyproject.toml").write_text(SETTINGS + RESUMED)
    printed = command("update")
    assert "CK403" in printed.out
    assert '"migrated"' in (pytester.path / "ckpt_snapshots" / "run.json").read_text()
    assert command("accept", "run", "--all", "--reason", "starts anew").code == 0
    assert command("check").code == 0
    assert command("update", "--verify").code == 0


@pytest.mark.usefixtures("earlier_code")
def test_an_accepted_break_is_not_said_to_load_what_was_saved(
    pytester: pytest.Pytester, command: Command
) -> None:
    folder = make_project(pytester.path)
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    edit(folder / "models.py", "classes=4", "classes=5")
    assert command("accept", "net-v1", "--all", "--reason", "five", "--against", "main").code == 0
    printed = command("check", "--against", "main").out
    assert "CK907" in printed
    assert "it loads what it saved" not in printed
    assert "the definition differs from its snapshot ckpt_snapshots/definitions/models.Net.json (" in printed
    assert command("update").code == 0
    assert command("check", "--against", "main").code == 0


# -- converting --------------------------------------------------------------------------------------------


class Lit(nn.Module):
    """A module that migrates its checkpoints itself, as a LightningModule does."""

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Renames what an earlier version saved."""


def test_converting_what_a_hook_migrates_says_what_to_do() -> None:
    """It said only that there is no migration."""
    registration: Any = SimpleNamespace(id="lit-v1")
    error = _without_migration(registration, find(Lit))
    assert str(error) == (
        "lit-v1: has no migration but Lit.on_load_checkpoint, which Lightning runs at each load; keep the "
        "file as "
        "it is; or load it with Lit.load_from_checkpoint and save it with trainer.save_checkpoint; or give "
        "migrate= where it is registered"
    )
    plain = _without_migration(registration, find(nn.Linear, {"in_features": 2, "out_features": 2}))
    assert str(plain).startswith("lit-v1: is registered without a migration; give migrate= where it is")
