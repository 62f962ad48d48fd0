"""Names of reports that are refused before the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Printed

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net"
path = "net.pt"
model = "models:Net"
"""

_KILLED = """
import os
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    if not hasattr(session.config, "workerinput"):
        os._exit(9)
"""


@pytest.fixture
def recorded(project: pytest.Pytester, command: Callable[..., Printed]) -> pytest.Pytester:
    settings = project.path / "pyproject.toml"
    settings.write_text(settings.read_text() + ENTRY)
    assert command("update").code == 0
    return project


@pytest.mark.parametrize("name", ["", ".json", "out/.sarif", "report", "report.xml"])
def test_a_name_without_a_kind(recorded: pytest.Pytester, command: Callable[..., Printed], name: str) -> None:
    printed = command("check", "--report", name)
    assert printed.code == 2
    assert f"report {name}: is of no known kind; name a file that ends in" in printed.err.replace("  ", " ")
    assert recorded.runpytest_inprocess(f"--ckpt-report={name}").ret == pytest.ExitCode.USAGE_ERROR


def test_a_report_does_not_replace_a_snapshot(
    recorded: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    snapshot = recorded.path / "ckpt_snapshots" / "net.json"
    before = snapshot.read_bytes()
    printed = command("check", "--report", "ckpt_snapshots/net.json")
    assert (printed.code, printed.out) == (2, "")
    assert "report ckpt_snapshots/net.json: is a snapshot, which a report would replace" in printed.err
    assert (
        recorded.runpytest_inprocess("--ckpt-report=ckpt_snapshots/net.json").ret
        == pytest.ExitCode.USAGE_ERROR
    )
    assert snapshot.read_bytes() == before


def test_a_report_replaces_a_report(recorded: pytest.Pytester, command: Callable[..., Printed]) -> None:
    assert command("check", "--report", "out.json").code == 0
    assert command("check", "--report", "out.json").code == 0


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one process", "a worker"])
def test_a_run_that_is_killed_leaves_no_earlier_report(
    recorded: pytest.Pytester, command: Callable[..., Printed], workers: tuple[str, ...]
) -> None:
    """Neither that of the same name nor one of several, from the terminal or pytest."""
    recorded.runpytest_inprocess("--ckpt-report=d.json", "--ckpt-report=e.md").assert_outcomes(passed=1)
    recorded.makeconftest(_KILLED)
    ran = recorded.runpytest_subprocess("--ckpt-report=d.json", "--ckpt-report=e.md", *workers)
    assert ran.ret == 9
    assert not (recorded.path / "d.json").exists()
    assert not (recorded.path / "e.md").exists()
    printed = command("report", "merge", "d.json")
    assert (printed.code, "d.json: cannot be read: No such file" in printed.err) == (2, True)


def test_a_command_that_is_killed_leaves_no_earlier_report(
    recorded: pytest.Pytester, command: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("check", "--report", "d.json").code == 0

    def killed(*_given: object, **_named: object) -> None:
        assert not (recorded.path / "d.json").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_ckpt_compat._pytest_plugin.collection.in_project", killed)
    assert command("check", "--report", "d.json").code == 2
    assert not (recorded.path / "d.json").exists()


def test_a_merge_that_is_refused_leaves_no_earlier_one(
    recorded: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    """What it reads it leaves, though it is to be written anew."""
    assert command("check", "--report", "a.json").code == 0
    text = (recorded.path / "a.json").read_text(encoding="utf-8")
    (recorded.path / "b.json").write_text(text.replace('"against": null', '"against": "main"'))
    (recorded.path / "all.json").write_text(text)
    printed = command("report", "merge", "a.json", "b.json", "-o", "all.json", "-o", "./a.json")
    assert (printed.code, "b.json: is compared with main" in printed.err) == (2, True)
    assert not (recorded.path / "all.json").exists()
    assert (recorded.path / "a.json").read_text(encoding="utf-8") == text


def test_several_reports_of_one_run(recorded: pytest.Pytester, command: Callable[..., Printed]) -> None:
    printed = command("check", "--report", "a.json", "--report", "b.sarif", "--report", "c.md")
    assert printed.code == 0
    assert [line.split()[-1] for line in printed.out.splitlines() if line.startswith("report ")] == [
        "a.json",
        "b.sarif",
        "c.md",
    ]
    recorded.runpytest_inprocess("--ckpt-report=d.json", "--ckpt-report=e.html").assert_outcomes(passed=1)
    written = {path.name for path in recorded.path.iterdir()}
    assert written >= {"a.json", "b.sarif", "c.md", "d.json", "e.html"}


def test_one_report_that_cannot_be_written_costs_no_other(
    recorded: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    (recorded.path / "a.json").mkdir()
    printed = command("check", "--report", "a.json", "--report", "b.md")
    assert printed.code == 2
    assert "failed    a.json: " in printed.out
    assert (recorded.path / "b.md").exists()


def test_a_line_break_in_a_name_is_shown(recorded: pytest.Pytester, command: Callable[..., Printed]) -> None:
    printed = command("check", "--report", "a\nb\x1b[31m.json")
    assert printed.code == 0
    assert "report    a\\x0ab\\x1b[31m.json\n" in printed.out
    assert (recorded.path / "a\nb\x1b[31m.json").exists()
