"""A branch that renames the snapshot folder is compared with the snapshots under its earlier name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Printed
from tests.repository import ENTRY, commit, edit, git, make_project

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]


@pytest.mark.parametrize("deleted", [False, True])
def test_what_was_deleted_is_told(pytester: pytest.Pytester, command: Command, deleted: bool) -> None:
    """None of the snapshots was looked for, and a checkpoint that nobody loads any more went unseen."""
    second = ENTRY.replace("net-v1", "net-v2")
    folder = make_project(pytester.path, ENTRY + second)
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    git(folder, "mv", "ckpt_snapshots", "snaps")
    (folder / "ckpt_compat.toml").unlink(missing_ok=True)
    edit(folder / "pyproject.toml", ENTRY, f'\n[tool.ckpt_compat]\nsnapshot_dir = "snaps"\n{ENTRY}')
    if deleted:
        edit(folder / "pyproject.toml", second, "")
        (folder / "snaps" / "net-v2.json").unlink()
    printed = command("check", "--against", "main")
    assert printed.code == (2 if deleted else 0), printed.out
    assert ("CK901 net-v2: main " in printed.out) == deleted
    assert "has no snapshots" not in printed.out
    if deleted:
        words = ("accept", "net-v2", "--rule", "CK901", "--reason", "nobody loads it", "--against", "main")
        assert command(*words).code == 0
        assert command("check", "--against", "main").code == 0
