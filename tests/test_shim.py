"""A rename with a hook that makes what was saved load: every report names the one command that records it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Printed
from tests.repository import commit, edit, git, make_project

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]

HOOK = """
def renamed(module, state, prefix, *rest):
    for key in list(state):
        if key.startswith(prefix + "body."):
            state[prefix + "trunk." + key[len(prefix) + 5:]] = state.pop(key)


"""
CHANGED = (
    "the definition differs from its snapshot ckpt_snapshots/definitions/models.Net.json "
    "(keys: 4 added, 4 removed; record it: ckpt-compat update)"
)


@pytest.fixture
def shimmed(pytester: pytest.Pytester, command: Command) -> Path:
    """A branch on which a module is renamed, with a hook for what was saved before."""
    folder = make_project(pytester.path)
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    models = folder / "models.py"
    edit(models, 'body="body"', 'body="trunk"')
    edit(models, "class Net", HOOK.lstrip() + "class Net")
    edit(
        models,
        "self.head =",
        "self.register_load_state_dict_pre_hook(renamed)\n        self.head =",
    )
    return folder


def test_a_plain_run_names_the_command(shimmed: Path, command: Command, pytester: pytest.Pytester) -> None:
    printed = command("check")
    assert (printed.code, printed.out.splitlines()[0]) == (0, f"CK907 net-v1: loads, {CHANGED}")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    assert f"CK907 net-v1: loads, {CHANGED}" in result.outlines


def test_the_command_that_records_is_told_once(shimmed: Path, command: Command) -> None:
    """Two checkpoints of one definition that is to be recorded, and nothing else to do."""
    settings = (shimmed / "pyproject.toml").read_text()
    entry = settings[settings.index("[[tool.ckpt_compat.checkpoint]]") :]
    (shimmed / "pyproject.toml").write_text(f"{settings}\n{entry.replace('net-v1', 'net-v2')}")
    git(shimmed, "stash", "-q", "--", "models.py")
    assert command("update").code == 0
    commit(shimmed)
    git(shimmed, "branch", "-f", "base")
    git(shimmed, "stash", "pop", "-q")
    printed = command("check", "--against", "base")
    assert (printed.code, printed.out.splitlines()[0]) == (1, "nothing breaks, to be recorded: 2")
    assert printed.out.count("ckpt-compat update") == 1


def test_a_comparison_fails_with_the_same_command_which_mends_it(shimmed: Path, command: Command) -> None:
    printed = command("check", "--against", "main")
    assert printed.code == 1
    shown = printed.out[printed.out.index("CK907") : printed.out.index("compared")].strip().splitlines()
    assert shown == [
        f"CK907 net-v1: {CHANGED.replace('; record it: ckpt-compat update', '')}",
        "",
        "  net.pt -> models.Net (models.py:12)",
        "",
        "  record: ckpt-compat update, and commit what it writes",
    ]
    assert printed.out.splitlines()[0] == "nothing breaks, to be recorded: 1"
    assert "breaks introduced here" not in printed.out
    assert command("update").code == 0
    for words in (("check",), ("check", "--against", "main"), ("update", "--verify")):
        printed = command(*words)
        assert (printed.code, "CK907" in printed.out) == (0, False)
