"""Accepting several breaks by one command: several ids, every rule; all of them are written, or none."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from pytest_ckpt_compat._snapshots import accepted
from tests.conftest import SETTINGS, Filled, Printed
from tests.test_snapshots import change_model

Command = Callable[..., Printed]

TWO = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"

[[tool.ckpt_compat.checkpoint]]
id = "net-v2"
path = "net.pt"
model = "models:Net"
"""


@pytest.fixture
def broken(project: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """Two checkpoints whose head was widened and which lack a new layer."""
    project.makepyprojecttoml(SETTINGS + TWO)
    filled("two recorded", lambda: project.runpytest_inprocess("--ckpt-update", "-q"))
    change_model(project, "classes=4", "classes=5")
    change_model(project, "        self.head =", "        self.extra = nn.Linear(3, 3)\n        self.head =")
    return project


def entries(project: pytest.Pytester) -> list[tuple[str, str, str]]:
    found = accepted.load(project.path / "ckpt_snapshots")
    return sorted((each.id, each.rule, each.key) for each in found)


def test_every_rule_of_several_ids_is_accepted_at_once(broken: pytest.Pytester, command: Command) -> None:
    assert command("check").code == 1
    printed = command("accept", "net-v1", "net-v2", "--all", "--reason", "the new task")
    assert (printed.code, printed.err) == (0, "")
    assert entries(broken) == [
        ("net-v1", "CK101", "extra.*"),
        ("net-v1", "CK202", "head.*"),
        ("net-v2", "CK101", "extra.*"),
        ("net-v2", "CK202", "head.*"),
    ]
    assert [
        line.partition(" in ")[0] for line in printed.out.splitlines() if line.startswith("accepted")
    ] == [
        "accepted  CK202 head.* of net-v1 (2 changes)",
        "accepted  CK101 extra.* of net-v1 (2 changes)",
        "accepted  CK202 head.* of net-v2 (the 2 changes of net-v1)",
        "accepted  CK101 extra.* of net-v2 (the 2 changes of net-v1)",
    ]
    assert command("check").code == 0


def test_one_rule_of_several_ids(broken: pytest.Pytester, command: Command) -> None:
    printed = command("accept", "net-v1", "net-v2", "--rule", "CK202", "--reason", "the new task")
    assert printed.code == 0
    assert entries(broken) == [("net-v1", "CK202", "*"), ("net-v2", "CK202", "*")]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("net-v1", "net-v9", "--all"), "net-v9 is neither a registered checkpoint nor a failing definition"),
        (("net-v1", "--all", "--key", "head.*"), "--all accepts every key; leave --key out"),
        (("net-v1", "net-v2", "--rule", "CK301"), "accept net-v1 has no failing CK301"),
    ],
)
def test_where_one_cannot_be_accepted_nothing_is_written(
    broken: pytest.Pytester, command: Command, words: tuple[str, ...], complaint: str
) -> None:
    printed = command("accept", *words, "--reason", "the new task")
    assert printed.code == 2
    assert complaint in printed.err.replace(": ", " ", 2), printed.err
    assert entries(broken) == []


def test_what_does_not_fail_is_named(broken: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v1", "--all", "--reason", "the new task")
    printed = command("accept", "net-v2", "net-v1", "--all", "--reason", "again")
    assert printed.code == 0
    assert "nothing of net-v1 fails: nothing was accepted for it" in printed.out
    assert {each[0] for each in entries(broken)} == {"net-v1", "net-v2"}
    printed = command("accept", "net-v2", "net-v1", "--all", "--reason", "again")
    assert printed.code == 2
    assert "accept net-v2 net-v1: has nothing that fails and can be accepted" in printed.err


def test_the_same_changes_are_printed_once(broken: pytest.Pytester, command: Command) -> None:
    printed = command("accept", "net-v1", "net-v2", "--rule", "CK202", "--reason", "the new task")
    first, *changes, second = printed.out.splitlines()
    assert first.startswith("accepted  CK202 * of net-v1 (2 changes) in ckpt_snapshots/accepted/")
    assert [each.split()[0] for each in changes] == ["head.weight", "head.bias"]
    assert second.startswith("accepted  CK202 * of net-v2 (the 2 changes of net-v1) in ckpt_snapshots/")


@pytest.mark.parametrize("glob", ["net-*", "net-v[12]", "net-v{1,2}", "net-v{1..2}"])
def test_a_glob_of_ids(broken: pytest.Pytester, command: Command, glob: str) -> None:
    printed = command("accept", glob, "--rule", "CK202", "--reason", "the new task")
    assert (printed.code, printed.err) == (0, "")
    assert entries(broken) == [("net-v1", "CK202", "*"), ("net-v2", "CK202", "*")]


def test_of_what_a_glob_finds_what_fails_is_accepted(broken: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "the new task")
    assert command("accept", "net-v?", "--rule", "CK202", "--reason", "again").code == 0
    assert [each[:2] for each in entries(broken)] == [("net-v1", "CK202"), ("net-v2", "CK202")]
    assert command("accept", "net-*", "--all", "--reason", "all").code == 0
    printed = command("accept", "net-*", "--all", "--reason", "all")
    assert printed.code == 2
    assert "accept net-*: has nothing that fails and can be accepted; leave it out" in printed.err
    assert command("check").code == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("run-*", "--all"),
            "run-*: matches neither a registered checkpoint nor a failing definition; known are net-v1",
        ),
        (("net-*", "--rule", "CK301"), "accept net-v1: has no failing CK301 whose keys match *; what fails"),
    ],
)
def test_a_glob_that_finds_nothing_to_accept(
    broken: pytest.Pytester, command: Command, words: tuple[str, ...], complaint: str
) -> None:
    printed = command("accept", *words, "--reason", "the new task")
    assert printed.code == 2
    assert complaint in printed.err
    assert entries(broken) == []


def test_an_update_takes_a_glob_of_ids(broken: pytest.Pytester, command: Command) -> None:
    broken.run(
        sys.executable, "-c", "import torch, models; torch.save(models.Net(classes=5).state_dict(), 'net.pt')"
    )
    assert command("update", "net-v1").code == 1
    printed = command("update", "net-*")
    assert printed.code == 0, printed.out
    printed = command("update", "run-*")
    assert printed.code == 2
    assert (
        "run-*: is not a registered checkpoint; nothing was written; known are net-v1, net-v2" in printed.err
    )


def test_an_update_names_what_nothing_uses(broken: pytest.Pytester, command: Command) -> None:
    broken.makepyprojecttoml(SETTINGS + TWO.replace("net-v2", "net-v3"))
    printed = command("update")
    unused = "unused    ckpt_snapshots/net-v2.json: no test uses it; remove it with ckpt-compat retire net-v2"
    assert unused in printed.out
    assert (broken.path / "ckpt_snapshots" / "net-v2.json").exists()
    assert unused in command("update", "--verify").out


def test_a_rule_or_all_is_wanted(
    broken: pytest.Pytester, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command("accept", "net-v1", "--reason", "the new task")
    assert "one of the arguments --rule --all is required" in capsys.readouterr().err
