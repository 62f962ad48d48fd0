"""Against a reference, where a registered migration repairs a part of what a branch breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SETTINGS, Printed, save
from tests.repository import ENTRY, commit, edit, git, make_project

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]

RENAME = """

def rename(state_dict):
    return {key.replace("body.", "trunk."): value for key, value in state_dict.items()}
"""
MIGRATE = 'model = "models:Net"\nmigrate = "models:rename"'


@pytest.fixture
def branch(pytester: pytest.Pytester, command: Command) -> Path:
    """A branch that renames ``body``, has the migration registered, and widens the head."""
    make_project(pytester.path)
    assert command("update").code == 0
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-c", "work")
    edit(pytester.path / "models.py", 'body="body"', 'body="trunk"')
    edit(pytester.path / "models.py", "classes=4", "classes=6")
    with (pytester.path / "models.py").open("a") as stream:
        stream.write(RENAME)
    edit(pytester.path / "pyproject.toml", 'model = "models:Net"', MIGRATE)
    return pytester.path


def accept(command: Command, *words: str) -> None:
    printed = command("accept", *words, "--reason", "six classes; the head starts anew", "--against", "main")
    assert printed.code == 0, printed.err


def test_what_the_migration_repairs_is_not_told_beside_an_accepted_break(
    branch: Path, command: Command
) -> None:
    """Renamed, migrated, and a head accepted: it was red with a CK103 of the definition after the update."""
    before = command("check")
    assert "CK103" not in before.out
    assert "breaks by the same changes" in before.out
    accept(command, "net-v1", "--all")
    assert command("update").code == 0
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK103" not in printed.out
    assert "breaks by the same changes, which are accepted for both" in printed.out
    told = "the migration that repairs it: models.rename (net-v1); apart from what is accepted of net-v1"
    assert told in printed.out


def test_a_break_that_the_migration_does_not_repair_is_told(branch: Path, command: Command) -> None:
    edit(branch / "models.py", "            self.scale", "            pass\n        self.scale")
    accept(command, "net-v1", "--rule", "CK202")
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "+ scale" in printed.out
    assert "CK103" not in printed.out


def test_the_entry_of_a_definition_names_the_command_that_takes_it_out(
    branch: Path, command: Command
) -> None:
    """It named two that leave the entry, and its headline ended in the reason, at a semicolon."""
    save(branch / "new.pt", 6, "trunk")
    entry = ENTRY.replace("net-v1", "net-v2").replace("net.pt", "new.pt")
    with (branch / "pyproject.toml").open("a") as stream:
        stream.write(entry)
    assert command("update").code == 1
    accept(command, "net-v1", "--all")
    assert command("check", "--against", "main").code == 1  # what main trains does not load, says net-v2
    accept(command, "models.Net", "--all")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "CK903" not in printed.out  # net-v1 breaks in the same way, and net-v2 needs the entry
    assert command("update").code == 0
    commit(branch)
    git(branch, "switch", "-q", "main")
    git(branch, "merge", "-q", "work")
    git(branch, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0
    told = "the head starts anew) no longer occurs (ckpt-compat update --against main takes it out)"
    (line,) = [each for each in printed.out.splitlines() if each.startswith("CK903 net-v2")]
    assert told in line
    assert command("update", "--against", "main").code == 0
    printed = command("check", "--against", "main")
    assert (printed.code, "CK903" in printed.out) == (0, False)


def test_an_accepted_break_stays_so_where_a_migration_renames_its_key(
    project: pytest.Pytester, command: Command
) -> None:
    """A rule added for another checkpoint took the key of an accepted break along, and it failed again."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    models = project.path / "models.py"
    assert command("update").code == 0
    edit(models, "classes=4", "classes=6")
    edit(models, "self.head", "self.segment")
    printed = command("check")
    assert "head.* -> segment.*" in printed.out
    assert command("accept", "net-v1", "--all", "--reason", "six classes").code == 0
    with models.open("a") as stream:
        stream.write(RENAME.replace('"body.", "trunk."', '"head.", "segment."'))
    edit(project.path / "pyproject.toml", 'model = "models:Net"', MIGRATE)
    printed = command("check")
    assert "loads, apart from accepted breaks" in printed.out
    assert printed.code == 0, printed.out
