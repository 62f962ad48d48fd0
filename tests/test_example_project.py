"""The example project: its checkpoints load, and each refactor's diff reads as it was approved."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import commit, git

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "example_project"
GOLDEN = Path(__file__).parent / "golden"
REFACTORS = sorted(path.stem for path in (EXAMPLE / "refactors").glob("*.patch"))


UNWANTED = shutil.ignore_patterns("__pycache__", ".*", "conftest.py")


@pytest.fixture
def copy(pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of the example project, to be refactored."""
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True, ignore=UNWANTED)
    return pytester


def run(project: pytest.Pytester) -> pytest.RunResult:
    return project.runpytest_inprocess("-p", "no:hypothesispytest", "-p", "no:cacheprovider")


def failure(result: pytest.RunResult, test_id: str) -> str:
    """What a failed test printed, without pytest's frame."""
    text = result.stdout.str()
    match = re.search(
        rf"^_+ [^\n]*{re.escape(test_id)} _+\n(.*?)(?=^(_+|=+|-+) )", text, re.DOTALL | re.MULTILINE
    )
    assert match, text
    return match[1]


def test_every_released_checkpoint_loads(copy: pytest.Pytester) -> None:
    run(copy).assert_outcomes(passed=3)


@pytest.mark.parametrize("refactor", REFACTORS)
def test_a_refactor_shows_its_diff(copy: pytest.Pytester, refactor: str) -> None:
    subprocess.run(["git", "apply", f"refactors/{refactor}.patch"], cwd=copy.path, check=True)
    before = {path: path.read_text() for path in (copy.path / "ckpt_snapshots").rglob("*.json")}
    text = failure(run(copy), "shapes-v2]")
    approved = GOLDEN / f"{refactor}.txt"
    assert approved.exists(), f"read this, and save it as {approved}:\n{text}"
    assert text == approved.read_text(encoding="utf-8")
    assert {path: path.read_text() for path in (copy.path / "ckpt_snapshots").rglob("*.json")} == before


def documented(command: str) -> list[str]:
    """The lines of the documentation that begin with a command."""
    text = (ROOT / "docs" / "first_five_minutes.md").read_text(encoding="utf-8")
    return re.findall(rf"^{command} .*$", text, re.MULTILINE)


@pytest.mark.parametrize("kind", ["clone", "copy"])
def test_patches_apply_as_the_documentation_writes_it(tmp_path: Path, kind: str) -> None:
    """From the root folder, inside a repository and outside. ``git apply`` may do nothing and exit with 0."""
    shutil.copytree(EXAMPLE, tmp_path / "made" / "example_project", ignore=UNWANTED)
    root = tmp_path / "made"
    if kind == "clone":
        git(root, "init", "-q")
        commit(root)
        git(tmp_path, "clone", "-q", str(root), "clone")
        root = tmp_path / "clone"
    forward, back = documented("git apply")
    sources = [root / "example_project" / name for name in ("shapes/models.py", "tests/test_checkpoints.py")]
    before = [path.read_text() for path in sources]
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    for refactor in REFACTORS:
        for command, changes in ((forward, True), (back, False)):
            assert "rename_block" in command
            words = shlex.split(command.replace("rename_block", refactor))
            subprocess.run(words, cwd=root, env=environment, check=True)
            assert ([path.read_text() for path in sources] != before) == changes, (refactor, command)


def test_every_patch_is_listed() -> None:
    text = (ROOT / "docs" / "first_five_minutes.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)\.patch` \|", text, re.MULTILINE)) == REFACTORS


@pytest.mark.usefixtures("warm_python")
def test_the_first_command_ends_with_a_real_break(tmp_path: Path) -> None:
    """As the README's first command runs it, in a folder that holds a copy of the example."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^python3 .* \.venv/bin/python -m pytest example_project$", readme, re.MULTILINE)
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(EXAMPLE, tmp_path / "example_project", ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "example_project"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "=== 3 passed in " in done.stdout
    assert done.stdout.endswith((GOLDEN / "rename_block.txt").read_text(encoding="utf-8"))
    assert "\n$ git apply refactors/rename_block.patch\n$ pytest " in done.stdout


def test_without_git_the_first_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = runpy.run_path(str(EXAMPLE / "show_a_break.py"))["show"]()
    assert text.endswith("git is not installed; install it, and run this again")


def test_collecting_shows_no_break(copy: pytest.Pytester) -> None:
    """``ckpt-compat`` collects the checkpoints without running a test."""
    shutil.copy(EXAMPLE / "conftest.py", copy.path)
    result = copy.runpytest_inprocess("-p", "no:hypothesispytest", "-p", "no:cacheprovider", "--collect-only")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*git apply*")


def test_released_checkpoints_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (EXAMPLE / "checkpoints").iterdir()}
    assert len(sizes) == 2
    assert max(sizes.values()) < 300_000
