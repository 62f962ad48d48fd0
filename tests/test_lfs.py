"""A checkout without Git LFS: pointers lie in the place of files, and every command uses the snapshots."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import MODELS, SETTINGS, Net, Printed, save
from tests.repository import ENTRY, commit, edit, git, make_project
from tests.test_github_action import run
from tests.test_levels import FACTORY, stepped

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

#: Every way of registering that reads a file in a way of its own.
REGISTERED = """
[[tool.ckpt_compat.checkpoint]]
id = "plain"
path = "net.pt"
model = "models:Net"

[[tool.ckpt_compat.checkpoint]]
path = "runs/*.pt"
model = "models:Net"
key = "state_dict"

[[tool.ckpt_compat.checkpoint]]
id = "loader"
path = "runs/1.pt"
load = "models:load"

[[tool.ckpt_compat.checkpoint]]
id = "factory"
path = "runs/2.pt"
model = "models:from_checkpoint"

[[tool.ckpt_compat.checkpoint]]
id = "resume"
path = "resume.pt"
model = "models:Net"
level = "resume"
optimizer = "models:optimizer"

[[tool.ckpt_compat.checkpoint]]
id = "parts"
path = "parts.pt"
model = {one = "models:Net", other = "models:Net"}
"""
LOADER = """

def load(path):
    model = Net()
    model.load_state_dict(torch.load(path)["state_dict"])
    return model
"""
IDS = ["plain", "runs/1.pt", "runs/2.pt", "loader", "factory", "resume", "parts"]


def pointed(folder: Path) -> dict[Path, bytes]:
    """Puts pointers in the place of all files; returns the snapshots."""
    for file in folder.rglob("*.pt"):
        file.write_text(POINTER)
    return {file: file.read_bytes() for file in (folder / "ckpt_snapshots").rglob("*.json")}


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(models=MODELS + FACTORY + LOADER)
    pytester.makepyprojecttoml(SETTINGS + REGISTERED)
    save(pytester.path / "net.pt")
    for name in ("runs/1.pt", "runs/2.pt"):
        save(pytester.path / name, settings={"classes": 4})
    net = Net()
    torch.save(
        {"model": net.state_dict(), "optimizer": stepped(net).state_dict()}, pytester.path / "resume.pt"
    )
    torch.save({"one": net.state_dict(), "other": net.state_dict()}, pytester.path / "parts.pt")
    pytester.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=len(IDS))
    return pytester


def test_every_command_uses_the_snapshots_and_keeps_them(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    before = pointed(project.path)

    def kept() -> bool:
        return before == {file: file.read_bytes() for file in before}

    project.runpytest_inprocess().assert_outcomes(passed=len(IDS))
    checked = command("check")
    assert checked.code == 0, checked.out
    assert checked.out.count("(it is a Git LFS pointer, not the file itself): checked from its snapshot") == 7
    rows = [line.split()[:4] for line in command("status").out.splitlines()[1:]]
    assert sorted(rows) == sorted([each, "pointer", "yes", "yes"] for each in IDS)
    updated = command("update")
    assert updated.code == 0
    assert "every snapshot is up to date" in updated.out
    for options in (("--ckpt-update",), ("--ckpt-update", "--ckpt-prune")):
        project.runpytest_inprocess(*options).assert_outcomes(passed=len(IDS))
        assert kept()
    for each in IDS:
        named = command("update", each)
        assert named.code == 2, named.out
        assert "run: git lfs pull" in named.out
        assert kept()
    edit(project.path / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    project.runpytest_inprocess().assert_outcomes(failed=len(IDS))
    assert command("check").code == 1


def test_without_snapshots_nothing_is_recorded(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    for file in pointed(project.path):
        file.unlink()
    printed = command("update")
    assert printed.code == 2
    assert printed.out.count("it is a Git LFS pointer") == len(IDS)
    assert not list((project.path / "ckpt_snapshots").glob("*.json"))


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_against_a_merge_base_of_pointers(pytester: pytest.Pytester, command: Callable[..., Printed]) -> None:
    make_project(pytester.path)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    pointed(pytester.path)
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-c", "work")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    edit(pytester.path / "models.py", "classes=4", "classes=5")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert printed.out.startswith("breaks introduced here: 1\n\nCK202 net-v1: head resized\n")


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="the runner's bash is not that of Windows")
@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("classes", [4, 5])
def test_the_action_on_a_checkout_without_lfs(
    pytester: pytest.Pytester, tmp_path: Path, classes: int
) -> None:
    """``actions/checkout`` leaves the pointers as they are unless it is told ``lfs: true``."""
    origin = make_project(pytester.path, ENTRY)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    pointed(origin)
    commit(origin)
    git(origin, "switch", "-q", "-c", "work")
    edit(origin / "models.py", "classes=4", f"classes={classes}")
    (origin / "notes.txt").write_text("a change")
    commit(origin)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--branch", "work", f"file://{origin}", str(clone))
    done = run(clone, GITHUB_BASE_REF="main")
    assert done.returncode == (classes == 5), done.stdout + done.stderr
    assert "compared  1 checkpoint, 6 tensors, with origin/main (merge base " in done.stdout
    assert git(clone, "status", "--porcelain") == ""
