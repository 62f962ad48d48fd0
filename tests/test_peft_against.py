"""An adapter of peft against a git reference: what the merge base's code breaks too is not new."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import SETTINGS, Filled, Printed
from tests.repository import commit, edit, git

peft: Any = pytest.importorskip("peft", reason="saves the adapter, and loads it")

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("earlier_code", "warm_libraries"),
    pytest.mark.filterwarnings("ignore"),
]

TAGGER = """
from torch import nn

class Tagger(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, 5)
"""
ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "names"
path = "adapter"
model = "tagger:Tagger"
level = "full"
"""


@pytest.fixture
def branch(pytester: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    pytester.syspathinsert()
    filled("branch with an adapter", lambda: _fill(pytester))
    return pytester


def _fill(pytester: pytest.Pytester) -> None:
    (pytester.path / "tagger.py").write_text(TAGGER)
    (pytester.path / "pyproject.toml").write_text(SETTINGS + ENTRY)
    (pytester.path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    base = importlib.import_module("tagger").Tagger()
    config = peft.LoraConfig(r=2, target_modules=["query", "value"])
    peft.get_peft_model(base, config).save_pretrained(pytester.path / "adapter")
    sys.modules.pop("tagger")
    git(pytester.path, "init", "-q", "-b", "main")
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-c", "work")


@pytest.mark.parametrize("there", [True, False], ids=["directory", "snapshot"])
def test_new_and_old_breaks(branch: pytest.Pytester, command: Callable[..., Printed], there: bool) -> None:
    if not there:
        shutil.rmtree(branch.path / "adapter")
        commit(branch.path)
        git(branch.path, "branch", "-f", "main")
    printed = command("check", "--against", "main")
    assert (printed.code, printed.out.splitlines()[0][:9]) == (0, "OK names:"), printed.out
    assert "what an adapter saves depends on its configuration" in printed.out
    edit(branch.path / "tagger.py", "nn.Linear(width, 5)", "nn.Linear(width, 6)")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert printed.out.startswith("breaks introduced here: 1\n\nCK201 names: 1 of 4 tensors resized\n")
    commit(branch.path)
    git(branch.path, "branch", "-f", "main")
    git(branch.path, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK201 names: already on main, 1 of 4 tensors resized" in printed.out
