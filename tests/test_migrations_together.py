"""Migrations beside all else: outputs, choices, an update with a break, files in place of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pytest_ckpt_compat import Structure, TensorSpec
from pytest_ckpt_compat._core.migrated import Migrated
from pytest_ckpt_compat._definition.chain import chain_of
from pytest_ckpt_compat._report.migrations import of_run
from tests import test_outputs_flow
from tests.conftest import Printed
from tests.repository import commit, git
from tests.test_outputs_flow import register, rename
from tests.test_snapshots import change_model

Command = Callable[..., Printed]

net, recorded = test_outputs_flow.net, test_outputs_flow.recorded


def test_an_update_with_a_break_tells_it(recorded: pytest.Pytester, command: Command) -> None:
    rename(recorded)
    printed = command("update")
    assert printed.code == 1
    assert "CK103 net-v1: 4 of 6 tensors renamed" in printed.out
    assert "please report it" not in printed.out + printed.err


def test_a_choice_against_the_outputs_is_not_called_proven(
    recorded: pytest.Pytester, command: Command
) -> None:
    rename(recorded)
    printed = command("migrate", "net-v1", "--choose", "left=lion", "--choose", "right=zebra")
    assert printed.code == 1
    assert "the outputs prove left.weight -> zebra.weight, and 3 more" in printed.err
    assert "proven by outputs" not in printed.err
    right = command("migrate", "net-v1", "--choose", "left=zebra", "--choose", "right=lion")
    assert (right.code, "proven by outputs" in right.err) == (0, True)


@pytest.mark.parametrize(
    "body", ['raise KeyError("nope")', "return None", 'del state["left.bias"]; return state']
)
def test_a_migration_that_fails_is_no_fault_of_the_definition(
    recorded: pytest.Pytester, command: Command, body: str
) -> None:
    with (recorded.path / "models.py").open("a") as stream:
        stream.write(f"\n\ndef wrong(state):\n    {body}\n")
    register(recorded, 'migrate = "models:wrong"')
    printed = command("check")
    assert printed.code == 1
    assert "CK401" in printed.out or "CK101" in printed.out
    assert "which cannot load it" not in printed.out
    assert "cannot load what it saves itself" not in printed.out


def test_a_definition_that_cannot_load_its_own_is_told_beside_a_migration(
    recorded: pytest.Pytester, command: Command
) -> None:
    change_model(
        recorded,
        "    def forward",
        "    def _load_from_state_dict(self, state, *_):\n        del state['left.bias']\n\n    def forward",
    )
    with (recorded.path / "models.py").open("a") as stream:
        stream.write("\n\ndef same(state):\n    return state\n")
    register(recorded, 'migrate = "models:same"')
    printed = command("check")
    assert printed.code == 1
    assert "saved by the definition itself, which cannot load it" in printed.out


def test_one_checkpoint_that_names_a_migration_twice_is_one(
    recorded: pytest.Pytester, command: Command
) -> None:
    with (recorded.path / "models.py").open("a") as stream:
        stream.write("\n\ndef same(state):\n    return state\n")
    register(recorded, 'migrate = ["models:same", "models:same"]')
    assert "models.same changes nothing in the checkpoint that registers it: " in command("check").out


@pytest.mark.parametrize(
    ("severity", "repairs"), [("warning", False), ("accepted", True), ("existing", True)]
)
def test_a_migration_after_which_it_computes_something_else_repairs_nothing(
    severity: str, repairs: bool
) -> None:
    drift = {"kind": "output-drift", "severity": severity, "rule": "CK501"}
    found = of_run([("v1", {"changes": [drift], "repaired_by": ["m.rename"]})], known=True)
    assert ("repairs" in found.repairs) is repairs
    assert found.broken == (() if repairs else ("v1",))


def test_a_snapshot_keeps_its_version_when_another_file_takes_its_place() -> None:
    chain = chain_of({2: lambda state: state, 3: lambda state: state}, "meta.version")
    assert chain is not None
    tensors = {"a": TensorSpec("float32", (1,))}
    before = Structure(tensors, values={"meta": {"version": 3}}, migrated=Migrated((), version="1"))
    assert len(chain.for_file(before).chain.links) == 2


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_file_converted_in_place_is_no_break_of_the_earlier_one(
    net: pytest.Pytester, command: Command
) -> None:
    path = net.path / "net.pt"
    torch.save({"meta": {"version": 1}, "model": torch.load(path)}, path)
    register(net, 'version = "meta.version"\nmigrate = {2 = "models:straight"}')
    rename(net)
    assert command("update").code == 0
    git(net.path, "init", "-q", "-b", "main")
    commit(net.path)
    assert command("convert", "net-v1", "--in-place").code == 0
    assert command("update", "net-v1").code == 0
    printed = command("check", "--against", "main", "--report", "report.json")
    report = json.loads(Path("report.json").read_text())
    assert "CK103" not in printed.out, report
