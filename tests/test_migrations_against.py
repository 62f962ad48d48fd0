"""Against a git reference: what a branch breaks, and the migration that it brings to repair it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._premerge.process import Process
from tests.conftest import Printed, save
from tests.repository import ENTRY, commit, edit, git, make_project

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]

RENAME = """

def rename(state_dict):
    return {key.replace("body.", "trunk."): value for key, value in state_dict.items()}
"""

ENTRIES = "".join(ENTRY.replace("net-v1", f"net-v{n}").replace("net.pt", f"net{n}.pt") for n in (1, 2, 3))
MIGRATE = 'model = "models:Net"\nmigrate = "models:rename"'


@pytest.fixture
def branch(pytester: pytest.Pytester) -> Path:
    """A branch that renames ``body``; three checkpoints of before are registered."""
    make_project(pytester.path, ENTRIES)
    for number in (1, 2, 3):
        save(pytester.path / f"net{number}.pt")
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=3)
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-c", "work")
    edit(pytester.path / "models.py", 'body="body"', 'body="trunk"')
    with (pytester.path / "models.py").open("a") as stream:
        stream.write(RENAME)
    return pytester.path


def migrate(folder: Path, *numbers: int) -> None:
    """Registers the migration for some of the checkpoints."""
    for number in numbers:
        entry = f'path = "net{number}.pt"\nmodel = "models:Net"'
        edit(folder / "pyproject.toml", entry, entry + '\nmigrate = "models:rename"')


def test_it_says_how_many_the_branch_breaks_and_repairs(
    branch: Path, command: Command, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(branch, 1, 2)
    command("update")
    told = (
        "this branch breaks 3 checkpoints and brings the migration that repairs 2 of them: "
        "models.rename (net-v1, net-v2)"
    )
    printed = command("check", "--against", "main", "--report", "report.json")
    assert printed.code == 1
    assert told in printed.out.splitlines()
    report = json.loads((branch / "report.json").read_text())
    assert report["migrations"] == {
        "broken": ["net-v3"],
        "repaired": {"models.rename": ["net-v1", "net-v2"]},
        "unused": [],
    }
    one, _, three = (each for each in report["checkpoints"] if each["id"].startswith("net-"))
    assert one["repaired_by"] == ["models.rename"]
    assert one["migrations"] == [{"name": "models.rename", "changed": True, "rules": []}]
    assert "repaired_by" not in three
    command("check", "--against", "main", "--report", "report.md")
    assert told.replace("_", "&#95;") in (branch / "report.md").read_text().splitlines()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pytester.runpytest_inprocess("--ckpt-against", "main")
    result.assert_outcomes(passed=2, failed=1)
    lines = result.outlines
    assert told in lines
    assert f"::notice title=checkpoint compatibility::{told}" in lines


def test_when_it_repairs_all_of_them(branch: Path, command: Command) -> None:
    migrate(branch, 1, 2, 3)
    command("update")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert (
        "this branch breaks 3 checkpoints and brings the migration that repairs them: "
        "models.rename (net-v1, net-v2, net-v3)" in printed.out.splitlines()
    )
    assert "this branch" not in command("check").out


def test_one_that_main_has_already_is_not_this_branchs(
    branch: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(branch, 1, 2, 3)
    command("update")
    commit(branch)
    git(branch, "switch", "-q", "main")
    git(branch, "merge", "-q", "work")
    git(branch, "switch", "-q", "-c", "next")
    monkeypatch.setattr(Process, "__init__", None)  # the snapshots say all
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "this branch" not in printed.out


def test_one_that_is_not_needed_repairs_nothing(branch: Path, command: Command) -> None:
    edit(branch / "models.py", 'body="trunk"', 'body="body"')
    migrate(branch, 1)
    edit(branch / "models.py", 'replace("body.", "trunk.")', 'replace("never.", "trunk.")')
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "this branch" not in printed.out
    assert "models.rename changes nothing in the checkpoint that registers it" in printed.out


def test_a_checkpoint_that_is_new_was_never_broken(branch: Path, command: Command) -> None:
    migrate(branch, 1, 2, 3)
    save(branch / "net4.pt")
    with (branch / "pyproject.toml").open("a") as stream:
        stream.write(ENTRY.replace("net-v1", "net-v4").replace("net.pt", "net4.pt"))
    edit(branch / "pyproject.toml", 'path = "net4.pt"\nmodel = "models:Net"', f'path = "net4.pt"\n{MIGRATE}')
    command("update")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "that repairs them: models.rename (net-v1, net-v2, net-v3)" in printed.out


def test_removing_one_that_main_has_is_red(branch: Path, command: Command) -> None:
    migrate(branch, 1, 2, 3)
    command("update")
    commit(branch)
    git(branch, "switch", "-q", "main")
    git(branch, "merge", "-q", "work")
    git(branch, "switch", "-q", "-c", "next")
    text = (branch / "pyproject.toml").read_text()
    (branch / "pyproject.toml").write_text(text.replace('\nmigrate = "models:rename"', "", 1))
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "CK404 net-v1: migration models.rename is no longer registered: " in printed.out
    assert "body.0.weight -> trunk.0.weight, and 3 more" in printed.out
    assert "CK404 net-v2" not in printed.out


def test_a_file_of_rules_that_main_has_not(branch: Path, command: Command) -> None:
    (branch / "rules.toml").write_text(
        "ckpt_compat_rules = 1\n\n[[rename]]\nfrom = '^body\\.'\nto = 'trunk.'\n\n"
        "[[rename]]\nfrom = '^body\\.2'\nto = 'trunk.2'\n\n[[rename]]\nfrom = '^tail'\nto = 'end'\n"
    )
    text = (branch / "pyproject.toml").read_text()
    entry = 'model = "models:Net"'
    (branch / "pyproject.toml").write_text(text.replace(entry, f'{entry}\nmigrate = "rules.toml"'))
    command("update")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "brings the migration that repairs them: rules.toml (net-v1, net-v2, net-v3)" in printed.out
    own = "of the 3 checkpoints that register it"
    lines = printed.out.splitlines()
    assert f"rules.toml: ^body\\.2 matches no key {own} that ^body\\. before it leaves" in lines
    assert f"rules.toml: ^tail matches no key {own}" in lines


def test_what_main_saved_loads_by_a_migration_of_another_checkpoint(branch: Path, command: Command) -> None:
    """A new checkpoint has the new names and needs no migration; what main trains has the old ones."""
    migrate(branch, 1, 2, 3)
    save(branch / "net4.pt", body="trunk")
    with (branch / "pyproject.toml").open("a") as stream:
        stream.write(ENTRY.replace("net-v1", "net-v4").replace("net.pt", "net4.pt"))
    command("update")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "OK net-v4: 6 tensors load" in printed.out


def test_one_that_main_has_lost_already_is_not_this_branchs(branch: Path, command: Command) -> None:
    """It was red on every branch until somebody recorded or accepted it."""
    migrate(branch, 1)
    git(branch, "switch", "-q", "main")
    assert command("update").code == 1
    commit(branch, "with a migration")
    edit(branch / "pyproject.toml", '\nmigrate = "models:rename"', "")
    commit(branch, "without it")
    git(branch, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK404 net-v1: already on main, migration models.rename is no longer registered" in printed.out
    edit(branch / "models.py", "self.head =", "self.gate = nn.Linear(2, 2)\n        self.head =")
    printed = command("check", "--against", "main")
    assert (printed.code, "gate" in printed.out) == (1, True)


def test_one_that_this_branch_loses_is_told_as_new(branch: Path, command: Command) -> None:
    migrate(branch, 1)
    git(branch, "switch", "-q", "main")
    assert command("update").code == 1
    commit(branch, "with a migration")
    git(branch, "switch", "-q", "-c", "next")
    edit(branch / "pyproject.toml", '\nmigrate = "models:rename"', "")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out
    assert "CK404 net-v1: migration models.rename is no longer registered" in printed.out
