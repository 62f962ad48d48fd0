"""However a run is spread or ends: its exit code is right, and nothing in use is called unused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import Filled, Printed
from tests.repository import make_project

pytestmark = pytest.mark.long

_ENTRIES = """
[[tool.ckpt_compat.checkpoint]]
id = "first"
path = "net.pt"
model = "models:Net"

[[tool.ckpt_compat.checkpoint]]
id = "second"
path = "net.pt"
model = "models:Net"
"""
_TEST_A = """
import pytest


@pytest.mark.checkpoint("net.pt", model="models:Net", id="healed", kwargs={"classes": 5})
def test_healed():
    pass


@pytest.mark.checkpoint("net.pt", model="models:Net", id="third")
def test_third(request):
    request.getfixturevalue("trouble")
"""
_TEST_B = """
import pytest


@pytest.mark.checkpoint("net.pt", model="models:Net", id="broken", kwargs={"classes": 7})
class TestBroken:
    def test_broken(self):
        pass


@pytest.mark.checkpoint("net.pt", model="models:Net", id="last")
def test_last():
    pass
"""
#: A test ends the process in which it runs, or the one that collects what all have found.
_TROUBLE = """
import os
import signal
import time

import pytest


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        os.environ["CONTROLLER"] = str(os.getpid())


@pytest.fixture(autouse=True)
def early_trouble(request):
    if os.environ.get("TROUBLE") == "setup" and request.node.name == "test_third":
        os._exit(3)


@pytest.fixture
def trouble():
    kind = os.environ.get("TROUBLE")
    if kind == "worker":
        os._exit(3)
    if kind == "controller":
        os.kill(int(os.environ["CONTROLLER"]), signal.SIGKILL)
        for _ in range(6000):
            try:
                os.kill(int(os.environ["CONTROLLER"]), 0)
            except ProcessLookupError:
                break
            time.sleep(0.01)
"""
#: Ids and the state of each in the report of a run that covers everything.
_ALL = {
    "first": "ok",
    "second": "ok",
    "healed": "warning",
    "third": "ok",
    "broken": "broken",
    "last": "ok",
}
_OLD = "definitions/models.Net(classes=5).json"
_UNUSED = f"unused    ckpt_snapshots/{_OLD}: no test uses it; remove it with pytest --ckpt-prune"
_HEALED = "CK903 healed"
_GONE = (
    "CK903 accepted/gone.toml: the accepted CK202 * of gone (for now): no registered checkpoint has this id"
)
#: No other plugin that prints, and none that is installed by chance.
_ALONE = ["-p", "no:sugar", "-p", "no:asyncio", "-p", "no:randomly"]


@pytest.fixture
def project(
    pytester: pytest.Pytester, filled: Filled, command: Callable[..., Printed], warm_python: str
) -> Path:
    """Six recorded checkpoints: one breaks; a snapshot and two acceptances are of no use any more."""

    def fill() -> None:
        folder = make_project(pytester.path, _ENTRIES)
        for name, text in (("test_a", _TEST_A), ("test_b", _TEST_B), ("conftest", _TROUBLE)):
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        assert command("update").code == 1
        assert command("accept", "healed", "--rule", "CK202", "--reason", "for now").code == 0
        (accepted,) = (folder / "ckpt_snapshots" / "accepted").iterdir()
        text = accepted.read_text(encoding="utf-8").replace("healed", "gone")
        accepted.with_name("gone.toml").write_text(text, encoding="utf-8")
        healed = _TEST_A.replace(', kwargs={"classes": 5}', "")
        (folder / "test_a.py").write_text(healed, encoding="utf-8")

    filled("spread", fill)
    return pytester.path


@dataclass(frozen=True)
class Ran:
    """A run: its exit code, what it printed, and the state of each checkpoint in its report."""

    code: int
    out: str
    states: dict[str, str]


def run(project: Path, *options: str, **variables: str) -> Ran:
    """Runs pytest on the project."""
    before = _files(project)
    words = [sys.executable, "-m", "pytest", "--ckpt-report=report.json", *_ALONE, *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GITHUB_"))}
    done = subprocess.run(
        words, cwd=project, env=clean | variables, capture_output=True, text=True, check=False, timeout=300
    )
    assert _files(project) == before, "a run that does not record writes nothing"
    report = project / "report.json"
    states = {}
    if report.exists():
        checkpoints = json.loads(report.read_text(encoding="utf-8"))["checkpoints"]
        states = {each["id"]: each["state"] for each in checkpoints}
        assert len(states) == len(checkpoints), "each once"
    return Ran(done.returncode, done.stdout + done.stderr, states)


def _files(project: Path) -> dict[str, bytes]:
    folder = project / "ckpt_snapshots"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options",
    [
        ["-n0"],
        ["-p", "no:xdist"],
        ["-n2", "--dist=load"],
        ["-n2", "--dist=loadfile"],
        ["-n2", "--dist=loadscope"],
        ["-n2", "--dist=worksteal"],
        ["-n2", "--dist=each"],
    ],
    ids=" ".join,
)
def test_a_complete_run_is_the_same_everywhere(project: Path, options: list[str]) -> None:
    ran = run(project, *options)
    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert ran.states == _ALL
    assert ran.out.count(_UNUSED) == 1, ran.out
    assert ran.out.count("unused    ") == 1
    assert ran.out.count(_HEALED) == 1
    assert ran.out.count(_GONE) == 1


def test_a_run_without_a_break_exits_with_0(project: Path) -> None:
    test = project / "test_b.py"
    test.write_text(test.read_text(encoding="utf-8").replace(', kwargs={"classes": 7}', ""), encoding="utf-8")
    ran = run(project, "-n2", "--dist=each")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert ran.states == _ALL | {"broken": "ok"}


@pytest.mark.parametrize("options", [["-x"], ["--maxfail=1"], ["-n2", "-x"]], ids=" ".join)
def test_a_run_that_stops_early_calls_nothing_unused(project: Path, options: list[str]) -> None:
    for name in ("test_c", "test_d", "test_e"):
        text = _TEST_B.replace('"broken"', f'"{name}-broken"').replace('"last"', f'"{name}-last"')
        (project / f"{name}.py").write_text(text, encoding="utf-8")
    ran = run(project, *options)
    assert ran.code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED), ran.out
    assert "unused    " not in ran.out
    assert _GONE not in ran.out
    assert "broken" in ran.states.values()
    assert "unknown" in ran.states.values(), "what it did not come to is not said to load"


def test_a_worker_that_dies_takes_no_verdict_along(project: Path) -> None:
    ran = run(project, "-n2", "--dist=load", TROUBLE="worker")
    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert "crashed while running" in ran.out
    assert "unused    " not in ran.out
    assert _GONE not in ran.out
    assert ran.states == _ALL | {"third": "unknown"}


def test_a_worker_that_dies_in_a_fixture_leaves_a_checkpoint_unknown(
    project: Path, command: Callable[..., Printed]
) -> None:
    (project / "test_b.py").write_text(_TEST_B.replace(', kwargs={"classes": 7}', ""), encoding="utf-8")
    ran = run(project, "-n2", "--dist=load", TROUBLE="setup")
    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    others = {name: state for name, state in _ALL.items() if name != "third"}
    assert ran.states == others | {"broken": "ok", "test_a.py::test_third": "unknown"}
    assert json.loads((project / "report.json").read_text(encoding="utf-8"))["compatible"] is False
    assert command("report", "merge", "report.json").code == 2
    ran = run(project, "-n2", "--dist=load", "--ckpt-update", TROUBLE="setup")
    assert "every snapshot is up to date" not in ran.out
    ran = run(project, "--dist=load", "--ckpt-update", "-k", "not third")
    assert "every snapshot is up to date" in ran.out


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed by a signal there")
def test_a_controller_that_dies_leaves_all_as_it_was(project: Path) -> None:
    (project / "ckpt_snapshots" / "first.json").unlink()
    ran = run(project, "-n1", "--ckpt-update", "--ckpt-prune", TROUBLE="controller")
    assert ran.code == -signal.SIGKILL
    assert ran.states == {}


def test_pruning_takes_out_what_is_unused_and_nothing_else(project: Path) -> None:
    folder = project / "ckpt_snapshots"
    before = _files(project).keys()
    words = [sys.executable, "-m", "pytest", "-n2", "--dist=each", "--ckpt-prune", *_ALONE]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.stdout.count("removed   ") == 3, done.stdout
    assert {Path(each).parent.name for each in before - _files(project).keys()} == {"definitions", "accepted"}
    assert not (folder / _OLD).exists()
    left = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.toml"))
    assert "healed" not in left
    assert "gone" not in left


@pytest.mark.skipif(find_spec("pytest_split") is None, reason="pytest-split is not installed: .[plugins]")
def test_groups_of_pytest_split_merge_into_the_whole(project: Path, command: Callable[..., Printed]) -> None:
    names = []
    for group in ("1", "2", "3"):
        ran = run(project, "--splits=3", f"--group={group}")
        assert "unused    " not in ran.out
        assert _GONE not in ran.out
        names.append(f"group-{group}.json")
        (project / "report.json").rename(project / names[-1])
    printed = command("report", "merge", *names, "-o", "all.json")
    assert printed.code == 1, printed.out + printed.err
    found = json.loads((project / "all.json").read_text(encoding="utf-8"))["checkpoints"]
    assert {each["id"]: each["state"] for each in found} == _ALL
