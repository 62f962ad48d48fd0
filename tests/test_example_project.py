"""The example project: its checkpoints load, and each refactor's diff reads as it was approved."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "example_project"
GOLDEN = Path(__file__).parent / "golden"
REFACTORS = sorted(path.stem for path in (EXAMPLE / "refactors").glob("*.patch"))


@pytest.fixture
def copy(pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of the example project, to be refactored."""
    shutil.copytree(
        EXAMPLE, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
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


def test_released_checkpoints_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (EXAMPLE / "checkpoints").iterdir()}
    assert len(sizes) == 2
    assert max(sizes.values()) < 300_000
