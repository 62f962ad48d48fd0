"""Other pytest plugins, all active at once, change no verdict, and are not disturbed either.

``pip install -e ".[plugins]"`` brings them. Subtests are pytest's own since 9.0.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conftest import MODELS, save

#: Distribution -> the module that it installs.
PLUGINS = {
    "pytest itself, from 9.0 on": "_pytest.subtests",
    "pytest-asyncio": "pytest_asyncio",
    "pytest-cov": "pytest_cov",
    "pytest-html": "pytest_html",
    "pytest-randomly": "pytest_randomly",
    "pytest-rerunfailures": "pytest_rerunfailures",
    "pytest-split": "pytest_split",
    "pytest-sugar": "pytest_sugar",
    "pytest-timeout": "pytest_timeout",
    "pytest-torch": "pytest_torch",
    "syrupy": "syrupy",
}
_ABSENT = [name for name, module in PLUGINS.items() if find_spec(module) is None]

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("warm_python"),
    pytest.mark.skipif(
        bool(_ABSENT), reason=f"not installed: {', '.join(_ABSENT)}; pip install -e '.[plugins]'"
    ),
]

_SETTINGS = """
[tool.pytest.ini_options]
pythonpath = ["."]
filterwarnings = ["error"]
asyncio_default_fixture_loop_scope = "function"
"""

_TESTS = """
import asyncio

import pytest


@pytest.mark.checkpoint("green.pt", model="models:Net")
def test_green(ckpt_compat):
    assert ckpt_compat.load()


@pytest.mark.checkpoint("breaks.pt", model="models:Net", kwargs={"classes": 5})
def test_breaks():
    pass


@pytest.mark.skip(reason="not today")
@pytest.mark.checkpoint("skipped.pt", model="models:Net")
def test_skipped():
    pass


@pytest.mark.xfail(strict=True, reason="known")
@pytest.mark.checkpoint("known.pt", model="models:Net", kwargs={"classes": 6})
def test_known():
    pass


@pytest.mark.asyncio
@pytest.mark.checkpoint("green.pt", model="models:Net", id="awaited")
async def test_awaited():
    await asyncio.sleep(0)


@pytest.mark.checkpoint("green.pt", model="models:Net", id="parts")
def test_parts(subtests):
    for number in range(2):
        with subtests.test(number=number):
            assert number < 2


@pytest.mark.checkpoint("green.pt", model="models:Net", id="pictured")
def test_pictured(snapshot, torch_seed):
    assert {"classes": 4} == snapshot
"""

#: The model cannot be built while the test runs for the first time.
_FLAKY = """
import models
import pytest


def require_answer():
    if len(tries) == 1:
        raise OSError("no answer")


tries = []
build_net = models.Net.__init__
models.Net.__init__ = lambda self: (require_answer(), build_net(self))[1]


@pytest.fixture(autouse=True)
def another_try():
    tries.append("another")


@pytest.mark.checkpoint("green.pt", model="models:Net")
def test_flaky():
    pass
"""

_CHECKED = {
    "green.pt": True,
    "breaks.pt": False,
    "known.pt": True,
    "skipped.pt": None,
    "awaited": True,
    "parts": True,
    "pictured": True,
}

#: Options that make every plugin work. Durations are not stored, and files go to the folder {out}.
_EVERYTHING = (
    "--reruns=2 --timeout=300 --cov=models --cov-report=term --html={out}/tests.html --self-contained-html "
    "--randomly-seed=7 --force-sugar --asyncio-mode=auto --snapshot-details --torch-autoseed "
    "--torch-seed-mode=per-test --torch-deterministic --torch-device=cpu --junitxml={out}/tests.xml"
)


@dataclass(frozen=True)
class Ran:
    """A run of pytest: its exit code, what it printed, its reports and what it changed in the project."""

    code: int
    out: str
    verdicts: dict[str, bool]
    folder: Path
    changed: str

    @property
    def properties(self) -> list[str]:
        """The names of the properties in the JUnit report's last word on the test that breaks."""
        cases = ElementTree.parse(self.folder / "tests.xml").getroot().iter("testcase")
        last = [case for case in cases if case.get("name") == "test_breaks"][-1]
        return [str(each.get("name")) for each in last.iter("property")]


@dataclass(frozen=True)
class Project:
    """A project with its snapshots recorded and committed."""

    path: Path
    out: Path

    def pytest(self, *options: str) -> Ran:
        """Runs pytest with the plugins that are installed."""
        report = self.out / "report.json"
        done = self.run("-m", "pytest", f"--ckpt-report={report}", *options)
        data = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {"checkpoints": []}
        verdicts = _verdicts(data["checkpoints"])
        return Ran(done.returncode, done.stdout + done.stderr, verdicts, self.out, self.changes())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs Python in the project's folder."""
        own = ("PYTEST_", "GITHUB_", "COV_", "COVERAGE_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        clean |= {"COVERAGE_FILE": str(self.out / "coverage"), "PYTHONIOENCODING": "utf-8"}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=clean,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def git(self, *arguments: str) -> str:
        """Runs git in the project's folder."""
        named = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", *named, *arguments]
        return subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True).stdout

    def changes(self) -> str:
        """What differs from the commit, untracked files included."""
        return self.git("status", "--short")


def _verdicts(checkpoints: list[dict[str, Any]]) -> dict[str, bool]:
    names = [each["id"] for each in checkpoints]
    assert len(names) == len(set(names)), f"one twice: {names}"
    return {each["id"]: each["compatible"] for each in checkpoints}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose snapshots, ours and syrupy's, are recorded in one run and committed."""
    path, out = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("out")
    (path / "models.py").write_text(MODELS, encoding="utf-8")
    (path / "pyproject.toml").write_text(_SETTINGS, encoding="utf-8")
    (path / "test_net.py").write_text(_TESTS, encoding="utf-8")
    (path / ".gitignore").write_text("__pycache__\n.pytest_cache\n", encoding="utf-8")
    for name in ("green", "breaks", "skipped", "known"):
        save(path / f"{name}.pt")
    project = Project(path, out)
    project.git("init", "-q", "-b", "main")
    ran = project.pytest("--ckpt-update", "--snapshot-update")
    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert (path / "ckpt_snapshots" / "pictured.json").exists(), ran.out
    assert (path / "__snapshots__" / "test_net.ambr").exists(), ran.out
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "Record")
    return project


@pytest.fixture
def project(recorded: Project, tmp_path: Path) -> Project:
    """A copy of the project, and an empty folder for reports."""
    shutil.copytree(recorded.path, tmp_path / "project")
    (tmp_path / "out").mkdir()
    return Project(tmp_path / "project", tmp_path / "out")


def _everything(project: Project) -> list[str]:
    return _EVERYTHING.format(out=project.out).split()


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["one process", "two workers"])
def test_all_at_once(project: Project, workers: list[str]) -> None:
    ran = project.pytest(*_everything(project), *workers)

    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert ran.verdicts == _CHECKED
    assert ran.out.count("! head.weight") == 1, ran.out
    assert ran.properties == ["ckpt_compat.breaks.pt"]
    assert "2 rerun" in ran.out
    assert "unused" not in ran.out
    assert "Warning" not in ran.out
    assert not ran.changed
    assert "CK202 breaks.pt" in (project.out / "tests.html").read_text(encoding="utf-8")


def test_groups_of_a_split_run_know_that_they_are_not_all(project: Project) -> None:
    verdicts: dict[str, bool] = {}
    codes = []
    for group in ("1", "2"):
        ran = project.pytest("--splits=2", f"--group={group}", "--randomly-seed=7", "--ckpt-prune")
        codes.append(ran.code)
        assert "pruned nothing: the run was incomplete" in ran.out
        assert "unused" not in ran.out
        assert not ran.changed
        assert not verdicts.keys() & ran.verdicts.keys()
        verdicts |= ran.verdicts

    assert verdicts == _CHECKED
    assert sorted(codes) == [pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED]


def test_updates_of_both_kinds_of_snapshots_leave_each_other_alone(project: Project) -> None:
    (project.path / "ckpt_snapshots" / "parts.json").unlink()
    shutil.rmtree(project.path / "__snapshots__")

    ran = project.pytest("--ckpt-update", "--snapshot-update", "--ckpt-prune", "--reruns=1")

    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert ran.out.count("recorded  ") == 1
    assert "recorded  ckpt_snapshots/parts.json: 6 tensors" in ran.out
    assert "removed" not in ran.out
    assert not ran.changed


def test_a_rerun_that_succeeds_is_the_verdict(project: Project) -> None:
    (project.path / "test_flaky.py").write_text(_FLAKY, encoding="utf-8")
    (project.path / "test_net.py").unlink()
    shutil.rmtree(project.path / "__snapshots__")

    ran = project.pytest("--reruns=2")

    assert "1 rerun" in ran.out
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert ran.verdicts == {"green.pt": True}


def test_a_comparison_with_main_sees_only_what_the_branch_breaks(project: Project) -> None:
    models = project.path / "models.py"
    models.write_text(models.read_text(encoding="utf-8").replace("Linear(3, 8)", "Linear(3, 9)"))

    ran = project.pytest("--ckpt-against=main", *_everything(project))

    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert set(_CHECKED) <= set(ran.verdicts)
    assert {name for name, loads in ran.verdicts.items() if loads} == {"known.pt"}, "which is to fail"
    assert "compared  6 checkpoints" in ran.out
    assert "could not be checked" not in ran.out
    assert ran.changed == " M models.py\n"


def test_the_command_runs_no_other_plugins_work(project: Project) -> None:
    options = " ".join(_everything(project))
    with (project.path / "pyproject.toml").open("a", encoding="utf-8") as settings:
        settings.write(f"addopts = '{options} --store-durations'\n")

    done = project.run("-m", "pytest_ckpt_compat", "check", f"--report={project.out / 'report.json'}")

    data = json.loads((project.out / "report.json").read_text(encoding="utf-8"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert _verdicts(data["checkpoints"]).items() >= _CHECKED.items()
    assert sorted(each.name for each in project.out.iterdir()) == ["report.json"]
    assert project.changes() == " M pyproject.toml\n"
