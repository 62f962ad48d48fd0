"""Registered migrations are guarded: the snapshot remembers what they did, and CK404 tells what is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import SETTINGS, Printed
from tests.repository import edit

Command = Callable[..., Printed]

pytestmark = pytest.mark.long

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.qkv = nn.Linear(4, 12)
        self.head = nn.Linear(4, 2)


def rename(state_dict):
    names = {"one": "first", "two": "second"}
    return {".".join([names.get(k.split(".")[0], k.split(".")[0]), *k.split(".")[1:]]): v
            for k, v in state_dict.items()}


def fuse(state_dict):
    for name in ("weight", "bias"):
        state_dict["qkv." + name] = torch.cat([state_dict.pop(f"{each}.{name}") for each in "qkv"])
    return state_dict
"""

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "v1"
path = "v1.pt"
model = "models:Net"
migrate = ["models:rename", "models:fuse"]
"""


class Old(torch.nn.Module):
    """What the checkpoint was saved from."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("one", "two", "q", "k", "v"):
            self.add_module(name, torch.nn.Linear(4, 4))
        self.head = torch.nn.Linear(4, 2)


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """A project whose checkpoint needs two migrations."""
    pytester.makepyfile(models=MODELS)
    pytester.makepyprojecttoml(SETTINGS + ENTRY)
    torch.save(Old().state_dict(), pytester.path / "v1.pt")
    return pytester.path


@pytest.fixture
def recorded(folder: Path, command: Command) -> Path:
    """The same, recorded."""
    assert command("update").code == 0
    assert command("check").code == 0
    return folder


def stored(folder: Path) -> Any:
    return json.loads((folder / "ckpt_snapshots/v1.json").read_text())


def test_the_snapshot_remembers_who_made_it_load_and_where_every_value_went(recorded: Path) -> None:
    found = stored(recorded)["migrated"]
    assert found["by"] == ["models.rename", "models.fuse"]
    origins = found["origins"]
    assert origins["first.*"] == "one.*"
    assert origins["qkv.bias"][1:] == ["q.bias", "k.bias", "v.bias"]
    assert set(origins) == {"first.*", "second.*", "qkv.weight", "qkv.bias"}
    assert "dropped" not in found


def test_one_that_is_removed_and_needed(recorded: Path, command: Command) -> None:
    edit(recorded / "pyproject.toml", 'migrate = ["models:rename", "models:fuse"]', 'migrate = "models:fuse"')
    printed = command("check")
    assert printed.code == 1
    assert "CK404 v1: migration models.rename is no longer registered: " in printed.out
    assert "one.weight -> first.weight, and 3 more, 4 of 8 tensors possibly renamed" in printed.out
    assert "record:" not in printed.out
    edit(recorded / "pyproject.toml", 'migrate = "models:fuse"', "")
    printed = command("check")
    assert printed.code == 1
    assert "CK404 v1: migrations models.rename, models.fuse are no longer registered" in printed.out


def test_a_plain_update_does_not_forget_it(recorded: Path, command: Command) -> None:
    before = stored(recorded)
    edit(recorded / "pyproject.toml", 'migrate = ["models:rename", "models:fuse"]', 'migrate = "models:fuse"')
    assert command("update").code == 1
    assert stored(recorded) == before


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            '"one": "first", "two": "second"',
            '"one": "second", "two": "first"',
            "first.weight gets two.weight",
        ),
        ('for each in "qkv"', 'for each in "vkq"', "qkv.weight gets something made of v.weight, k.weight, q"),
        ('"qkv"])', '"qkv"]).flip(0)', "qkv.weight gets something made of q.weight, k.weight, v.weight"),
    ],
)
def test_one_that_puts_values_elsewhere_though_it_loads(
    recorded: Path, command: Command, old: str, new: str, told: str
) -> None:
    edit(recorded / "models.py", old, new)
    printed = command("check")
    assert printed.code == 1, printed.out
    assert "CK404 v1: migrations models.rename, models.fuse are not as recorded: " in printed.out
    assert "record: ckpt-compat update v1" in printed.out
    assert told in printed.out
    before = stored(recorded)
    assert command("update").code == 1
    assert stored(recorded) == before
    assert command("update", "v1").code == 0
    assert stored(recorded)["migrated"]["by"] == before["migrated"]["by"]
    assert stored(recorded)["migrated"] != before["migrated"]
    assert command("check").code == 0


def test_it_can_be_accepted(recorded: Path, command: Command) -> None:
    edit(recorded / "models.py", '"one": "first", "two": "second"', '"one": "second", "two": "first"')
    assert command("accept", "v1", "--rule", "CK404", "--reason", "the two were swapped").code == 0
    assert command("check").code == 0
    edit(recorded / "models.py", 'for each in "qkv"', 'for each in "vkq"')
    assert command("check").code == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # the code is another, and does the same
        ("state_dict.pop(f", "state_dict.pop(''+f"),
        ('for name in ("weight", "bias")', 'for name in ("bias", "weight")'),
    ],
)
def test_another_code_that_does_the_same_says_nothing(
    recorded: Path, command: Command, old: str, new: str
) -> None:
    edit(recorded / "models.py", old, new)
    printed = command("check")
    assert (printed.code, "CK404" in printed.out) == (0, False)
    assert "recorded" not in printed.out


def test_one_that_moved_to_another_module_is_recorded_by_the_next_update(
    recorded: Path, command: Command
) -> None:
    (recorded / "old_files.py").write_text(
        "from models import fuse, rename\n\n\ndef all_of_it(state_dict):\n"
        "    return fuse(rename(state_dict))\n"
    )
    edit(recorded / "pyproject.toml", '["models:rename", "models:fuse"]', '"old_files:all_of_it"')
    printed = command("check")
    assert printed.code == 0
    assert "note: what old_files.all_of_it does is not recorded; ckpt-compat update guards it" in printed.out
    assert command("update").code == 0
    assert stored(recorded)["migrated"]["by"] == ["old_files.all_of_it"]
    assert "is not recorded" not in command("check").out


def test_the_definition_may_go_on_and_the_chain_with_it(recorded: Path, command: Command) -> None:
    """``first`` becomes ``stem``, and a migration more is registered: nothing is lost."""
    edit(recorded / "models.py", "self.first", "self.stem")
    edit(
        recorded / "models.py",
        "def fuse",
        "def stem(state):\n    return {k.replace('first.', 'stem.'): v "
        "for k, v in state.items()}\n\n\ndef fuse",
    )
    edit(recorded / "pyproject.toml", '"models:fuse"]', '"models:fuse", "models:stem"]')
    printed = command("check")
    assert (printed.code, "CK404" in printed.out) == (0, False), printed.out
    assert command("update").code == 0
    assert stored(recorded)["migrated"]["origins"]["stem.*"] == "one.*"


def test_one_that_is_not_needed_any_more_is_forgotten(recorded: Path, command: Command) -> None:
    """The renames move into a hook of the model, so the chain is shorter and the checkpoint loads."""
    edit(
        recorded / "models.py",
        "self.head = nn.Linear(4, 2)\n",
        "self.head = nn.Linear(4, 2)\n        self.register_load_state_dict_pre_hook(upgrade)\n",
    )
    with (recorded / "models.py").open("a") as stream:
        stream.write(
            "\n\ndef upgrade(module, state_dict, prefix, *_):\n"
            "    for key in [*state_dict]:\n"
            "        name = key.replace('one.', 'first.').replace('two.', 'second.')\n"
            "        state_dict[name] = state_dict.pop(key)\n"
        )
    edit(recorded / "pyproject.toml", '["models:rename", "models:fuse"]', '"models:fuse"')
    printed = command("check")
    assert (printed.code, "CK404" in printed.out) == (0, False), printed.out
    assert "what models.fuse does is not recorded" in printed.out
    assert command("update").code == 0
    assert stored(recorded)["migrated"]["by"] == ["models.fuse"]


def test_a_break_that_it_has_no_part_in_blames_no_migration(recorded: Path, command: Command) -> None:
    edit(recorded / "models.py", "self.head = nn.Linear(4, 2)", "self.head = nn.Linear(4, 3)")
    printed = command("check")
    assert printed.code == 1
    assert "CK404" not in printed.out


def test_it_is_guarded_without_the_file(recorded: Path, command: Command) -> None:
    (recorded / "v1.pt").unlink()
    assert command("check").code == 0
    edit(recorded / "models.py", 'for each in "qkv"', 'for each in "vkq"')
    assert "CK404" in command("check").out


def test_in_pytest_too(recorded: Path, pytester: pytest.Pytester) -> None:
    edit(recorded / "models.py", 'for each in "qkv"', 'for each in "vkq"')
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CK404 v1: *not as recorded: qkv.weight gets something made of v.*"])


def test_a_lenient_registration_is_guarded_as_well(folder: Path, command: Command) -> None:
    """The load would pass, with a layer at random."""
    edit(folder / "pyproject.toml", 'id = "v1"', 'id = "v1"\nstrict = false')
    assert command("update").code == 0
    edit(folder / "pyproject.toml", '"models:rename", ', "")
    printed = command("check")
    assert printed.code == 1
    assert "CK404 v1: migration models.rename is no longer registered" in printed.out


def test_recording_by_the_id_keeps_what_holds(recorded: Path, command: Command) -> None:
    before = stored(recorded)
    assert command("update", "v1").code == 0
    assert stored(recorded) == before


SWAP = """

def swap(state_dict):
    other = {"first": "second", "second": "first"}
    return {".".join([other.get(k.split(".")[0], k.split(".")[0]), *k.split(".")[1:]]): v
            for k, v in state_dict.items()}


def upgrade(module, state_dict, prefix, *_):
    old = dict(state_dict)
    state_dict.clear()
    state_dict.update(swap(old))
"""


def test_a_hook_may_do_what_a_migration_did(recorded: Path, command: Command) -> None:
    """The names stay and the values are exchanged: no key shows it, and only what arrives tells."""
    (recorded / "models.py").write_text(MODELS + SWAP)
    before = '["models:rename", "models:fuse"]'
    edit(recorded / "pyproject.toml", before, '["models:rename", "models:fuse", "models:swap"]')
    assert command("update", "v1").code == 0
    assert stored(recorded)["migrated"]["origins"]["first.*"] == "two.*"
    edit(recorded / "pyproject.toml", ', "models:swap"]', "]")
    printed = command("check")
    assert printed.code == 1
    assert "CK404 v1: migration models.swap is no longer registered: first." in printed.out
    line = "self.head = nn.Linear(4, 2)"
    hook = "self.register_load_state_dict_pre_hook(upgrade)"
    edit(recorded / "models.py", line, f"{line}\n        {hook}")
    printed = command("check")
    assert (printed.code, "CK404" in printed.out) == (0, False), printed.out
