"""A project's own loader against a git reference: the merge base's loader says what was broken before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Filled, Printed
from tests.repository import commit, edit, git, make_branch

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
def branch(pytester: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    def fill() -> None:
        (pytester.path / "loading.py").write_text(LOADING)
        make_branch(pytester, ENTRY)

    filled("branch with a loader", fill)
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


@pytest.mark.parametrize("there", [True, False], ids=["file", "snapshot"])
def test_forward(branch: pytest.Pytester, command: Callable[..., Printed], there: bool) -> None:
    """The module that main's loader gives has to load what today's saves, with its own hooks."""
    edit(branch.path / "pyproject.toml", 'path = "net.pt"', 'path = "net.pt"\nlevel = "forward"')
    if not there:
        (branch.path / "net.pt").unlink()
    hook = """
        self._register_load_state_dict_pre_hook(self.rename)

    def rename(self, state, *_):
        for key in [key for key in state if key.startswith("trunk.")]:
            state[key.replace("trunk.", "body.")] = state.pop(key)
"""
    edit(
        branch.path / "models.py",
        "self.head = nn.Linear(8, classes)\n",
        f"self.head = nn.Linear(8, classes)\n{hook}",
    )
    commit(branch.path)
    git(branch.path, "branch", "-f", "main")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    # Today's code saves other keys, which main's hook renames; it does not load the old ones itself.
    edit(branch.path / "models.py", 'body="body"', 'body="trunk"')
    edit(branch.path / "models.py", "return self.head(self.body(x))", "return self.head(self.trunk(x))")
    branch.runpytest_inprocess("--ckpt-update", "-q")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "level forward" in printed.out, printed.out
    edit(branch.path / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes, bias=False)")
    branch.runpytest_inprocess("--ckpt-update", "-q")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert "+ head.bias" in printed.out, printed.out


def test_full_asks_both(branch: pytest.Pytester, command: Callable[..., Printed]) -> None:
    edit(branch.path / "pyproject.toml", 'path = "net.pt"', 'path = "net.pt"\nlevel = "full"')
    commit(branch.path)
    git(branch.path, "branch", "-f", "main")
    assert command("check", "--against", "main").code == 0
    edit(branch.path / "models.py", "extra=False", "extra=True")
    branch.runpytest_inprocess("--ckpt-update", "-q")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert "+ scale" in printed.out, printed.out
    assert "- scale" in printed.out, printed.out


def test_a_loader_that_gives_no_module_for_it(
    branch: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    edit(branch.path / "pyproject.toml", 'path = "net.pt"', 'path = "net.pt"\nlevel = "forward"')
    edit(branch.path / "loading.py", "torch.load(path))", 'torch.load(path)); raise ValueError("nothing")')
    commit(branch.path)
    git(branch.path, "branch", "-f", "main")
    edit(branch.path / "loading.py", '; raise ValueError("nothing")', "")
    printed = command("check", "--against", "main")
    assert printed.code == 2, printed.out
    assert "gives no module (ValueError: nothing (" in printed.out
