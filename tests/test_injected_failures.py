"""Whatever raises around a verdict costs nothing but its own words: failures injected at every stage."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Filled, Printed, save
from tests.repository import commit, edit, git, make_project

Command = Callable[..., Printed]

ENTRIES = """
[[tool.ckpt_compat.checkpoint]]
id = "good"
path = "net.pt"
model = "models:Net"

[[tool.ckpt_compat.checkpoint]]
id = "bad"
path = "wide.pt"
model = "models:Net"

[[tool.ckpt_compat.checkpoint]]
id = "renamed"
path = "renamed.pt"
model = "models:Net"
"""


@pytest.fixture
def three(project: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """A checkpoint that loads, one with another head, and one with other names, all recorded."""
    save(project.path / "wide.pt", classes=6)
    save(project.path / "renamed.pt", body="trunk")
    file = project.path / "pyproject.toml"
    file.write_text(file.read_text() + ENTRIES)
    filled("three", lambda: project.runpytest_inprocess("--ckpt-update"))
    return project


def fail(*_args: Any, **_kwargs: Any) -> Any:
    """Stands for any function of ours that has a bug."""
    raise IndexError("injected")


def for_one(function: Callable[..., Any], chosen: Callable[..., bool]) -> Callable[..., Any]:
    """``function``, which fails where the arguments are the chosen ones."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return fail() if chosen(*args, **kwargs) else function(*args, **kwargs)

    return wrapped


def verdicts(project: pytest.Pytester, command: Command) -> tuple[int, int, dict[str, Any], str]:
    """Exit codes of pytest and of the command, the JSON report that both agree on, and all output."""
    result = project.runpytest_inprocess("--ckpt-report=pytest.json", "--junitxml=junit.xml")
    done = command("check", "--report", "check.json")
    ours, theirs = (json.loads((project.path / name).read_text()) for name in ("pytest.json", "check.json"))
    states = [{each["id"]: each["state"] for each in data["checkpoints"]} for data in (ours, theirs)]
    assert states[0] == states[1]
    assert not ours["compatible"]
    assert not theirs["compatible"]
    output = result.stdout.str() + result.stderr.str() + done.out + done.err
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert "<testcase" in (project.path / "junit.xml").read_text()
    return int(result.ret), done.code, theirs, output


def test_without_a_failure(three: pytest.Pytester, command: Command) -> None:
    code, of_command, data, _ = verdicts(three, command)
    assert (code, of_command) == (1, 1)
    states = {each["id"]: each["state"] for each in data["checkpoints"]}
    assert states == {"good": "ok", "bad": "broken", "renamed": "broken"}


@pytest.mark.parametrize(
    "stage",
    [
        "_readers.sniff.read_any",
        "_definition.build.build",
        "_definition.confirm.attempt",
        "_check.check.as_changes",
        "_check.check.judge",
        "_check.checkpoint.with_commands",
        "_check.snapshots.difference",
    ],
)
def test_a_stage_that_fails_for_every_checkpoint(
    three: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    (three.path / "net.pt").unlink()
    save(three.path / "net.pt", classes=5)
    monkeypatch.setattr(f"pytest_ckpt_compat.{stage}", fail)
    if stage == "_readers.sniff.read_any":
        monkeypatch.setattr("pytest_ckpt_compat._readers.read_any", fail)
    if stage == "_definition.build.build":
        monkeypatch.setattr("pytest_ckpt_compat._definition.confirm.build", fail)
    _, of_command, data, output = verdicts(three, command)
    assert {each["id"] for each in data["checkpoints"]} >= {"good", "bad", "renamed"}
    assert of_command in (1, 2)
    assert "CK908" in output
    assert "please report it" in output


def test_a_checkpoint_that_fails_costs_no_other_its_verdict(
    three: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_ckpt_compat._check import checkpoint

    failing = for_one(checkpoint._checked, lambda registration, *_: registration.id == "good")
    monkeypatch.setattr(checkpoint, "_checked", failing)
    code, of_command, data, output = verdicts(three, command)
    assert (code, of_command) == (1, 1)
    states = {each["id"]: each["state"] for each in data["checkpoints"]}
    assert states == {"good": "unknown", "bad": "broken", "renamed": "broken"}
    assert "CK908 good: IndexError: injected" in output
    status = command("status")
    assert status.code == 0
    assert [line.split()[0] for line in status.out.splitlines()] == ["checkpoint", "good", "bad", "renamed"]
    accepted = command("accept", "bad", "--rule", "CK202", "--reason", "meant")
    assert accepted.code == 0


@pytest.mark.parametrize("what", ["_renames.infer", "_check.explain.explain"])
def test_an_explanation_that_fails_leaves_the_facts(
    three: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(f"pytest_ckpt_compat.{what}", fail)
    code, of_command, data, output = verdicts(three, command)
    assert (code, of_command) == (1, 1)
    renamed = next(each for each in data["checkpoints"] if each["id"] == "renamed")
    assert renamed["state"] == "broken"
    assert renamed["counts"] == {"missing": 4, "unexpected": 4}
    assert "explaining the changes failed; what torch found is complete: IndexError: injected" in output


@pytest.mark.parametrize("what", ["rows", "_layout", "_phrases", "fold"])
def test_a_report_that_fails_is_written_without_its_folding(
    three: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    module = "_report.rows" if what == "fold" else "_report.text"
    monkeypatch.setattr(f"pytest_ckpt_compat.{module}.{what}", fail)
    code, of_command, data, output = verdicts(three, command)
    assert (code, of_command) == (1, 1)
    assert {each["state"] for each in data["checkpoints"]} == {"ok", "broken"}
    assert "head.weight" in output
    assert "CK202" in output


def test_rules_that_cannot_be_summed_up(
    three: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_ckpt_compat._renames.rename_patterns", fail)
    _, _, data, _ = verdicts(three, command)
    renamed = next(each for each in data["checkpoints"] if each["id"] == "renamed")
    assert renamed["rules"] == []
    assert len(renamed["changes"]) == 4
    assert any("summing up the renames" in note for note in renamed["notes"])


def test_github_that_fails(
    three: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setattr("pytest_ckpt_compat._report.github.render", fail)
    code, of_command, _, output = verdicts(three, command)
    assert (code, of_command) == (1, 1)
    assert "failed    GitHub's annotations: IndexError: injected" in output
    assert "CK202 bad" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("what", ["_check.run.update.write", "_check.run.accepted.load"])
def test_an_end_that_fails_loses_no_verdict(
    three: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (three.path / "ckpt_snapshots" / "good.json").unlink()
    monkeypatch.setattr(f"pytest_ckpt_compat.{what}", fail)
    if what.endswith("write"):
        assert three.runpytest_inprocess("--ckpt-update").ret == pytest.ExitCode.TESTS_FAILED
        done = command("update")
        assert done.code == 1
        assert "failed    IndexError: injected" in done.out
        return
    _, of_command, data, output = verdicts(three, command)
    assert of_command in (1, 2)
    assert len(data["checkpoints"]) >= 3
    assert "please report it" in output


def test_a_test_that_ends_before_its_check_leaves_its_checkpoint_unknown(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from models import Net

        @pytest.fixture
        def broken():
            raise OSError("no such service")

        @pytest.mark.checkpoint("net.pt", model=Net)
        def test_net(broken): pass
        """
    )
    result = project.runpytest_inprocess("--ckpt-report=r.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    data = json.loads((project.path / "r.json").read_text())
    assert data["compatible"] is False
    assert [each["state"] for each in data["checkpoints"]] == ["unknown"]


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("what", ["process.Process.ask", "new_breaks._with_existing", "trees.extract"])
@pytest.mark.usefixtures("earlier_code")
def test_a_comparison_that_fails_leaves_torchs_verdict(
    pytester: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    project = make_project(pytester.path)
    pytester.runpytest_inprocess("--ckpt-update")
    commit(project)
    git(project, "switch", "-q", "-c", "branch")
    edit(project / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    monkeypatch.setattr(f"pytest_ckpt_compat._premerge.{what}", fail)
    done = command("check", "--against", "main", "--report", "r.json")
    assert done.code == 1
    assert "CK202 net-v1: head resized" in done.out
    assert "IndexError: injected" in done.out
    assert "please report it" in done.out
    data = json.loads((project / "r.json").read_text())
    assert data["compatible"] is False
    assert pytester.runpytest_inprocess("--ckpt-against=main").ret == pytest.ExitCode.TESTS_FAILED


TESTS = """
import os
import pytest
from models import Net

@pytest.mark.checkpoint("net.pt", model=Net, id="first")
def test_first(): pass

def test_between():
    if os.environ["END"] == "interrupt":
        raise KeyboardInterrupt
    assert False

@pytest.mark.checkpoint("wide.pt", model=Net, id="last")
def test_last(): pass
"""


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize(
    ("end", "options"), [("interrupt", []), ("failure", ["-x"]), ("failure", ["-x", "-n1"])]
)
def test_a_run_that_is_stopped_is_not_compatible(
    three: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, end: str, options: list[str]
) -> None:
    monkeypatch.setenv("END", end)
    file = three.path / "pyproject.toml"
    file.write_text(file.read_text().replace(ENTRIES, ""))
    three.makepyfile(TESTS)
    three.runpytest_inprocess("-k", "first", "--ckpt-update", "-p", "no:randomly")
    with contextlib.suppress(KeyboardInterrupt):
        three.runpytest_inprocess("--ckpt-report=r.json", "-p", "no:randomly", *options)
    data = json.loads((three.path / "r.json").read_text())
    assert not data["compatible"]
    left = "the rest of the run" if "-n1" in options else "last"
    assert {each["id"]: each["state"] for each in data["checkpoints"]} == {"first": "ok", left: "unknown"}


def test_an_update_that_checks_nothing_does_not_call_it_up_to_date(three: pytest.Pytester) -> None:
    (three.path / "ckpt_snapshots" / "good.json").unlink()
    result = three.runpytest_inprocess("--collect-only", "--ckpt-update")
    assert "up to date" not in result.stdout.str()
    result.stdout.fnmatch_lines(["no snapshot was written"])
