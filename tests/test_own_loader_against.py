"""A project's own loader against a git reference: the merge base's loader says what was broken before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Printed
from tests.repository import commit, edit, git, make_project

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]

LOADING = """
import torch
from models import Net

def load(path, **kwargs):
    model = Net(**kwargs)
    model.load_state_dict(torch.load(path))
    return model
"""
ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
load = "loading:load"
"""


@pytest.fixture
def branch(pytester: pytest.Pytester) -> pytest.Pytester:
    (pytester.path / "loading.py").write_text(LOADING)
    make_project(pytester.path, ENTRY)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-c", "work")
    return pytester


@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
def test_new_and_old_breaks(branch: pytest.Pytester, command: Callable[..., Printed], there: bool) -> None:
    if not there:
        (branch.path / "net.pt").unlink()
        commit(branch.path)
        git(branch.path, "branch", "-f", "main")
    printed = command("check", "--against", "main")
    assert (printed.code, printed.out.splitlines()[0][:10]) == (0, "OK net-v1:"), printed.out
    edit(branch.path / "models.py", "classes=4", "classes=5")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert printed.out.startswith("breaks introduced here: 1\n\nCK202 net-v1: head resized\n")
    branch.runpytest_inprocess("--ckpt-update", "-q")
    commit(branch.path)
    git(branch.path, "branch", "-f", "main")
    git(branch.path, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK202 net-v1: already on main, head resized" in printed.out


def test_what_a_loader_cannot_be_asked_is_not_checked(
    branch: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    edit(branch.path / "pyproject.toml", 'path = "net.pt"', 'path = "net.pt"\nlevel = "forward"')
    commit(branch.path)
    git(branch.path, "branch", "-f", "main")
    printed = command("check", "--against", "main")
    assert printed.code == 2, printed.out
    assert "gives a module of which nothing is known without the checkpoint" in printed.out
