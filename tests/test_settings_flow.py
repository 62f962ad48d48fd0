"""Settings in the flows: pytest, check, update, accept, and a comparison with the merge base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Filled, Printed
from tests.repository import commit, edit, git, make_branch
from tests.test_snapshots import TEST, change_model, stored

Command = Callable[..., Printed]
TOLD = "CK502 net.pt: loads, body.1: torch.nn.ReLU -> torch.nn.GELU, computes something else"


@pytest.fixture
def recorded(project: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """A project of which all is recorded."""
    project.makepyfile(test_net=TEST)
    filled(
        "recorded by a test",
        lambda: project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1),
    )
    return project


def test_a_changed_setting_is_a_warning_until_it_is_recorded(
    recorded: pytest.Pytester, command: Command
) -> None:
    recorded.runpytest_inprocess().stdout.no_fnmatch_line("*CK502*")
    change_model(recorded, "nn.ReLU()", "nn.GELU()")
    before = stored(recorded)
    result = recorded.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([TOLD])
    assert stored(recorded) == before
    printed = command("check")
    assert (printed.code, printed.out.splitlines()[0]) == (0, TOLD)
    recorded.runpytest_inprocess("--ckpt-update").stdout.fnmatch_lines(
        [
            "updated   ckpt_snapshots/definitions/models.Net.json: the classes of modules",
            "  [*] body.1   torch.nn.ReLU -> torch.nn.GELU   computes something else",
        ]
    )
    recorded.runpytest_inprocess().stdout.no_fnmatch_line("*CK502*")


def test_it_can_be_accepted_by_module(recorded: pytest.Pytester, command: Command) -> None:
    change_model(recorded, "nn.ReLU()", "nn.GELU()")
    accepting = ("accept", "net.pt", "--rule", "CK502", "--key", "body.*", "--reason", "trained anew")
    printed = command(*accepting)
    assert (printed.code, printed.err) == (0, "")
    assert "body.1 -> body.1: torch.nn.ReLU -> torch.nn.GELU, computes something else" in printed.out
    assert "CK502 net.pt: accepted, body.1:" in command("check").out
    change_model(recorded, "nn.GELU()", "nn.SiLU()")
    printed = command("check")
    assert printed.code == 0
    assert "the accepted CK502 body.* of net.pt (trained anew) no longer occurs" in printed.out
    assert "body.1: torch.nn.ReLU -> torch.nn.SiLU, computes something else" in printed.out


def test_the_registration_can_allow_it(recorded: pytest.Pytester, command: Command) -> None:
    change_model(recorded, "nn.ReLU()", "nn.GELU()")
    path = next(recorded.path.glob("test_*.py"))
    path.write_text(
        path.read_text().replace("model=Net)", 'model=Net, allow=[("CK502", "body.*", "trained anew")])')
    )
    assert command("check").out.startswith("CK502 net.pt: accepted, body.1: torch.nn.ReLU")


def test_what_differs_at_every_build_is_neither_told_nor_recorded(
    project: pytest.Pytester, command: Command
) -> None:
    change_model(
        project,
        "super().__init__()",
        "super().__init__(); import random, time, itertools; "
        "self.a, self.b, self.eps = time.perf_counter(), random.random(), 1e-5",
    )
    project.makepyfile(TEST)
    assert command("update").code == 0
    modules = json.loads(stored(project)["definitions/models.Net.json"])["modules"]
    assert "eps=1e-05" in modules[""]
    assert "a=" not in modules[""].replace("classes=", "").replace("extra=", "")
    assert "every snapshot is up to date" in command("update").out
    assert "CK502" not in command("check").out


def test_a_snapshot_of_before_is_neither_stale_nor_told(recorded: pytest.Pytester) -> None:
    path = recorded.path / "ckpt_snapshots" / "definitions" / "models.Net.json"
    data = json.loads(path.read_text())
    for section in ({key: text.partition("(")[0] for key, text in data["modules"].items()}, {}):
        path.write_text(json.dumps({**data, "modules": section}))
        result = recorded.runpytest_inprocess()
        result.assert_outcomes(passed=1)
        result.stdout.no_fnmatch_line("*CK[59]*")
    recorded.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    assert json.loads(path.read_text()) == data


# Against a git reference ----------------------------------------------------------------------------


def baseline(file: Path) -> dict[str, str]:
    """Rule -> what SARIF says of it next to the merge base."""
    (run,) = json.loads(file.read_text(encoding="utf-8"))["runs"]
    return {each["ruleId"]: each.get("baselineState", "") for each in run["results"]}


@pytest.fixture
def branch(pytester: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """A branch that left ``main``, where all is recorded."""
    filled("branch", lambda: make_branch(pytester))
    return pytester


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_setting_of_this_branch_is_told_though_it_is_recorded(
    branch: pytest.Pytester, command: Command
) -> None:
    edit(branch.path / "models.py", "nn.ReLU()", "nn.GELU()")
    for _ in range(2):
        printed = command("check", "--against", "main", "--report", "r.sarif")
        assert printed.code == 0
        assert baseline(branch.path / "r.sarif") == {"CK502": "new"}
        assert printed.out.startswith("CK502 net-v1: loads, body.1: torch.nn.ReLU -> torch.nn.GELU, ")
        assert printed.out.count("CK502") == 1
        branch.runpytest_inprocess("--ckpt-update", "-q")
    assert "CK502" not in command("check").out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_setting_that_main_changed_unrecorded_is_not_this_branchs(
    branch: pytest.Pytester, command: Command
) -> None:
    git(branch.path, "switch", "-q", "main")
    edit(branch.path / "models.py", "nn.ReLU()", "nn.GELU()")
    commit(branch.path)
    git(branch.path, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main", "--report", "r.sarif")
    assert printed.code == 0
    assert "CK502 net-v1: already on main, body.1: torch.nn.ReLU -> torch.nn.GELU" in printed.out
    assert baseline(branch.path / "r.sarif") == {"CK502": "unchanged"}


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_an_update_keeps_what_was_accepted_on_this_branch(branch: pytest.Pytester, command: Command) -> None:
    """After it the recorded settings are today's, so that only a comparison shows the change."""
    with (branch.path / "pyproject.toml").open("a") as file:
        file.write(
            '\n[tool.ckpt_compat.severity]\nCK502 = { severity = "error", reason = "we deploy them" }\n'
        )
    commit(branch.path)
    edit(branch.path / "models.py", "nn.ReLU()", "nn.GELU()")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    accepting = (
        "accept",
        "net-v1",
        "--rule",
        "CK502",
        "--key",
        "*",
        "--reason",
        "measured",
        "--against",
        "main",
    )
    assert command(*accepting).code == 0
    assert command("check", "--against", "main").code == 0
    for _ in range(2):
        command("update")
        assert "CK903" not in command("check").out
        printed = command("check", "--against", "main")
        assert printed.code == 0, printed.out
