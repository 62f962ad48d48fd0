"""Commands from a folder below the project's root: they see the whole project, or say what they leave out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SETTINGS, Filled, Printed, save
from tests.repository import ENTRY

MARKED = """
import pytest

@pytest.mark.checkpoint("net.pt", model="models:Net", id="marked")
def test_marked():
    pass
"""
IDS = {"net-v1", "net-v2", "marked"}


@pytest.fixture(params=["testpaths", "everywhere"])
def spread(
    request: pytest.FixtureRequest,
    project: pytest.Pytester,
    command: Callable[..., Printed],
    filled: Filled,
) -> Path:
    """A project with two checkpoints in its file and one on a test in ``tests``, and a folder ``src``."""
    settings = SETTINGS
    if request.param == "testpaths":
        settings = SETTINGS.replace("addopts", 'testpaths = ["tests"]\naddopts')
    (project.path / "pyproject.toml").write_text(settings + ENTRY + ENTRY.replace("net-v1", "net-v2"))
    (project.path / "tests").mkdir()
    (project.path / "tests" / "test_marked.py").write_text(MARKED)
    (project.path / "src" / "deep").mkdir(parents=True)
    filled(f"spread over {request.param}", lambda: command("update"))
    return project.path


def below(pytester: pytest.Pytester, command: Callable[..., Printed], folder: Path, *argv: str) -> Printed:
    """Runs a command in a folder."""
    root, pytester._path = pytester.path, folder
    try:
        return command(*argv)
    finally:
        pytester._path = root


@pytest.mark.parametrize("folder", ["src", "src/deep", "tests", "ckpt_snapshots"])
@pytest.mark.parametrize("settings", ["", '[project]\nname = "x"\nversion = "1"\n'])
def test_the_whole_project_is_seen(
    spread: Path, pytester: pytest.Pytester, command: Callable[..., Printed], folder: str, settings: str
) -> None:
    """Also where the folder has a ``pyproject.toml`` that says nothing of pytest."""
    if settings:
        (spread / folder / "pyproject.toml").write_text(settings)
    printed = below(pytester, command, spread / folder, "check")
    assert printed.code == 0, printed.out + printed.err
    assert {line.split()[1].rstrip(":") for line in printed.out.splitlines()[:3]} == IDS
    assert printed.out.splitlines()[3:] == ["compared  3 checkpoints, 18 tensors"]
    listed = below(pytester, command, spread / folder, "status").out.splitlines()
    assert {line.split()[0] for line in listed[1:]} == IDS
    again = below(pytester, command, spread / folder, "update")
    assert again.out == "every snapshot is up to date\n"


def test_what_another_project_around_it_registers(
    spread: Path, pytester: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    """A folder with settings of its own for pytest is a project of its own."""
    inner = spread / "src"
    (inner / "pyproject.toml").write_text(SETTINGS + ENTRY.replace("net-v1", "inner"))
    (inner / "models.py").write_text((spread / "models.py").read_text())
    save(inner / "net.pt")
    printed = below(pytester, command, inner, "update")
    line = f"skipped   {spread / 'pyproject.toml'}: it is above {inner}, the root folder of this run"
    assert (printed.code, printed.out.splitlines()[0]) == (0, line), printed.out + printed.err
    printed = below(pytester, command, inner, "check")
    assert printed.code == 0
    assert printed.out.splitlines() == [
        "OK inner: 6 tensors load",
        line,
        "compared  1 checkpoint, 6 tensors",
    ]
    assert below(pytester, command, inner, "status").out.splitlines()[-1] == line
    (spread / "pyproject.toml").write_text("[tool.ckpt_compat]\nlevle = 1\n")
    assert line in below(pytester, command, inner, "check").out, "though it has a mistake"
    (inner / ".git").mkdir()
    assert "skipped" not in below(pytester, command, inner, "check").out, "a repository ends there"


def test_a_root_that_pytest_does_not_know(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    """Without any settings for pytest, its root folder is where one stands."""
    (project.path / "pyproject.toml").unlink()
    (project.path / "ckpt_compat.toml").write_text(ENTRY)
    inner = project.path / "src"
    inner.mkdir()
    (inner / "models.py").write_text((project.path / "models.py").read_text())
    save(inner / "net.pt")
    (inner / "test_it.py").write_text(MARKED)
    printed = below(project, command, inner, "update")
    assert f"skipped   {project.path / 'ckpt_compat.toml'}: it is above {inner}" in printed.out
    (inner / "test_it.py").unlink()
    printed = below(project, command, inner, "check")
    assert printed.code == 2
    assert f"{inner}: no checkpoint is registered" in printed.err
