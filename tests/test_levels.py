"""Levels: what a checkpoint is held to besides being loaded by today's code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Filled, Net, Printed
from tests.repository import ENTRY, commit, edit, git, make_project

Command = Callable[..., Printed]

RESUME = ENTRY + 'level = "resume"\noptimizer = "models:optimizer"\n'
FACTORY = """

def optimizer(model):
    return torch.optim.Adam(model.parameters(), lr=0.1)
"""


def stepped(net: torch.nn.Module) -> torch.optim.Optimizer:
    """An optimizer that has state."""
    optimizer = torch.optim.Adam(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer


stepped(Net())  # a step imports much of torch, which pytester would take back after a test


@pytest.fixture
def resumable(pytester: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """A project whose checkpoint holds the state of its optimizer."""
    filled("resumable", lambda: _fill(pytester))
    return pytester


def _fill(pytester: pytest.Pytester) -> None:
    make_project(pytester.path, RESUME)
    models = pytester.path / "models.py"
    models.write_text(models.read_text() + FACTORY)
    net = Net()
    checkpoint = {"model": net.state_dict(), "optimizer": stepped(net).state_dict()}
    torch.save(checkpoint, pytester.path / "net.pt")
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("classes=4", "classes=5", "! head.weight *exp_avg of the optimizer"),
        (
            "model.parameters()",
            "list(model.parameters())[:2]",
            "! head.weight *the optimizer no longer has it",
        ),
        (
            "model.parameters()",
            "[{'params': [p]} for p in model.parameters()]",
            "*parameter groups 1 -> 6: the file's hold 6 (body.0.weight, body.0.bias, body.2.weight, ...), "
            "today's hold 1 (body.0.weight), 1 (body.0.bias), 1 (body.2.weight), ... parameters",
        ),
        ("(model):", "(model):\n    return 3", "CK906 net-v1: models:optimizer: gave int; *"),
    ],
)
def test_resume(resumable: pytest.Pytester, old: str, new: str, complaint: str) -> None:
    resumable.runpytest_inprocess().assert_outcomes(passed=1)
    edit(resumable.path / "models.py", old, new)
    result = resumable.runpytest_inprocess("-vv")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{complaint}"])
    if "gave" not in complaint:
        result.stdout.fnmatch_lines(["*CK403*"])


def test_resume_without_the_file(resumable: pytest.Pytester) -> None:
    """The snapshot of a checkpoint at this level keeps the optimizer's state, too."""
    (resumable.path / "net.pt").unlink()
    resumable.runpytest_inprocess().assert_outcomes(passed=1)
    edit(resumable.path / "models.py", "model.parameters()", "model.head.parameters()")
    result = resumable.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK403 net-v1: the optimizer's state does not fit"])


def test_resume_needs_the_state(resumable: pytest.Pytester) -> None:
    snapshot = resumable.path / "ckpt_snapshots" / "net-v1.json"
    with_state = snapshot.read_text()
    snapshot.write_text(fingerprint.dumps(read(resumable.path / "net.pt")))
    result = resumable.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    printed = "loads, ckpt_snapshots/net-v1.json keeps no optimizer state; run ckpt-compat update"
    result.stdout.fnmatch_lines([f"CK901 net-v1: {printed}"])
    resumable.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    assert snapshot.read_text() == with_state
    torch.save({"model": Net().state_dict()}, resumable.path / "net.pt")
    result = resumable.runpytest_inprocess("-vv")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK902 net-v1: *", "*net.pt: holds no optimizer state; *"])


def test_resume_notices_another_state_in_the_file(resumable: pytest.Pytester) -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters())
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, resumable.path / "net.pt")
    result = resumable.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*differs from its snapshot * (the state of the optimizer)"])


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
@pytest.mark.usefixtures("earlier_code")
def test_a_resume_that_was_broken_before(
    resumable: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What main cannot resume either was not broken here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(resumable.path.parent / "cache"))
    edit(resumable.path / "models.py", "model.parameters()", "model.head.parameters()")
    commit(resumable.path)
    git(resumable.path, "switch", "-q", "-c", "work")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK403 net-v1: already on main, the optimizer's state does not fit" in printed.out
    edit(resumable.path / "models.py", "model.head.parameters()", "list(model.parameters())[:3]")
    assert command("check", "--against", "main").code == 1


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize(("level", "code"), [("backward", 0), ("forward", 1), ("full", 1)])
@pytest.mark.usefixtures("earlier_code")
def test_forward(
    pytester: pytest.Pytester,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    code: int,
) -> None:
    """Today's code loads what the old one saved, thanks to a hook; the old code knows of no hook."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path.parent / "cache"))
    make_project(pytester.path, ENTRY + f'level = "{level}"\n')
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-c", "work")
    hook = (
        "        self.scale = nn.Parameter(torch.ones(1))\n"
        "        self._register_load_state_dict_pre_hook("
        "lambda state, *_: state.setdefault('scale', torch.ones(1)))\n"
        "        self.head"
    )
    edit(pytester.path / "models.py", "        self.head", hook)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    printed = command("check", "--against", "main")
    assert printed.code == code, printed.out
    assert ("CK102 models.Net@forward: 1 of 7 tensors unexpected" in printed.out) is (code == 1)
