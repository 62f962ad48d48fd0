"""A run of which somebody took tests out without a word takes nothing out of what is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Printed, save

SHARDS = """
import os

def pytest_collection_modifyitems(items):
    if os.environ.get("SHARD"):
        items[:] = items[int(os.environ["SHARD"])::2]
"""
TESTS = """
import pytest
from models import Net

@pytest.mark.checkpoint("net.pt", model=Net)
def test_net(): ...

@pytest.mark.checkpoint("wide.pt", model=Net)
def test_wide(): ...
"""


@pytest.fixture
def recorded(project: pytest.Pytester, command: Callable[..., Printed]) -> Path:
    """Two checkpoints in two shards, recorded, the second one with an accepted break."""
    save(project.path / "wide.pt", classes=7)
    project.makeconftest(SHARDS)
    project.makepyfile(test_them=TESTS)
    project.runpytest_inprocess("--ckpt-update", "-q")
    assert command("accept", "wide.pt", "--all", "--reason", "seven").code == 0
    assert project.runpytest_inprocess("-q").ret == 0
    return project.path / "ckpt_snapshots"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("option", ["--ckpt-update", "--ckpt-prune"])
@pytest.mark.parametrize("shard", ["0", "1"])
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
@pytest.mark.usefixtures("warm_python")
def test_a_shard_keeps_what_belongs_to_the_others(
    pytester: pytest.Pytester,
    recorded: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    shard: str,
    workers: tuple[str, ...],
) -> None:
    before = everything(recorded)
    monkeypatch.setenv("SHARD", shard)
    result = pytester.runpytest_inprocess(option, "-q", *workers)
    assert result.ret == 0, result.outlines
    assert everything(recorded) == before


@pytest.mark.parametrize("setting", ["python_files=test_none.py", "testpaths=elsewhere"])
def test_an_overridden_setting_of_what_is_collected_prunes_nothing(
    pytester: pytest.Pytester, recorded: Path, setting: str
) -> None:
    (pytester.path / "elsewhere").mkdir()
    for name in ("test_none.py", "elsewhere/test_more.py"):
        (pytester.path / name).write_text("def test_nothing(): ...\n")
    before = everything(recorded)
    pytester.runpytest_inprocess("--ckpt-prune", "-q", "-o", setting)
    assert everything(recorded) == before


def test_a_whole_run_still_prunes(pytester: pytest.Pytester, recorded: Path) -> None:
    (pytester.path / "test_them.py").write_text(TESTS.partition('@pytest.mark.checkpoint("wide.pt"')[0])
    pytester.runpytest_inprocess("--ckpt-prune", "-q")
    assert not (recorded / "wide.pt.json").exists()


HALVES = """
import os
import pytest

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if "HALF" in os.environ:
        middle, half = len(items) // 2, os.environ["HALF"]
        left = items[middle:] if half == "0" else items[:middle]
        items[:] = items[:middle] if half == "0" else items[middle:]
        config.hook.pytest_deselected(items=left)
"""
ALTERNATING = "".join(
    f'[[tool.ckpt_compat.checkpoint]]\nid = "c{at}"\npath = "net.pt"\nmodel = "models:Net"\n'
    f"kwargs = {{ classes = {10 + at % 2} }}\n"
    for at in range(8)
)


@pytest.mark.usefixtures("warm_python")
def test_a_shard_with_workers_and_one_without_divide_the_same_list(
    project: pytest.Pytester, command: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever divides the tests by their order sees them in one order; the workers' own comes after it."""
    (project.path / "pyproject.toml").write_text(ALTERNATING)
    project.makeconftest(HALVES)
    for half, workers in (("0", ()), ("1", ("-n", "2"))):
        monkeypatch.setenv("HALF", half)
        project.runpytest_inprocess("-q", f"--ckpt-report=half{half}.json", *workers)
    found = [json.loads((project.path / f"half{half}.json").read_text()) for half in "01"]
    assert [each["registered"] for each in found] == [["c0", "c1", "c2", "c3"], ["c4", "c5", "c6", "c7"]]
    assert "not in this report" not in command("report", "merge", "half0.json", "half1.json").out
