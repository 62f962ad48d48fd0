"""Against a reference: a checkpoint that was converted, and arguments that changed, on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Printed, save
from tests.repository import ENTRY, commit, edit, git, make_project
from tests.test_what_a_migration_leaves import MIGRATE, RENAME

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]


def on_main(folder: Path) -> None:
    """Commits everything on ``main``, and leaves that for a branch."""
    commit(folder)
    git(folder, "switch", "-q", "-c", "work")


@pytest.fixture
def migrated(pytester: pytest.Pytester, command: Command) -> Path:
    """A branch of a ``main`` that has a renamed model, and the migration of its checkpoint recorded."""
    make_project(pytester.path)
    edit(pytester.path / "models.py", 'body="body"', 'body="trunk"')
    with (pytester.path / "models.py").open("a") as stream:
        stream.write(RENAME)
    edit(pytester.path / "pyproject.toml", 'model = "models:Net"', MIGRATE)
    assert command("update").code == 0
    on_main(pytester.path)
    return pytester.path


def replace_file(folder: Path, command: Command) -> None:
    edit(folder / "pyproject.toml", MIGRATE, 'model = "models:Net"')
    edit(folder / "pyproject.toml", "net.pt", "net_v2.pt")
    assert command("update", "net-v1").code == 0


def test_a_converted_file_answers_for_no_rename_anew(migrated: Path, command: Command) -> None:
    """Registered under the same id, it was red with each rename, of "net_v2.pt as main has it"."""
    assert command("convert", "net-v1", "-o", "net_v2.pt").code == 0
    replace_file(migrated, command)
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    (note,) = [line for line in printed.out.splitlines() if "is what the migration made of" in line]
    assert note.startswith("  note: net_v2.pt is what the migration made of net.pt as main (merge base ")
    assert note.endswith("has it: only net_v2.pt is checked from here on")


def test_another_file_in_its_place_is_told_by_the_path_that_it_had(migrated: Path, command: Command) -> None:
    save(migrated / "net_v2.pt", 6, "trunk")
    edit(migrated / "models.py", "classes=4", "classes=6")
    replace_file(migrated, command)
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "  net.pt as main (merge base " in printed.out
    assert "net_v2.pt as main" not in printed.out


def test_what_changed_kwargs_break_is_told_as_that(pytester: pytest.Pytester, command: Command) -> None:
    """The advice was to undo what was meant; that the kwargs had changed was not said."""
    make_project(pytester.path, ENTRY.rstrip() + "\nkwargs = { classes = 4 }\n")
    assert command("update").code == 0
    on_main(pytester.path)
    edit(pytester.path / "pyproject.toml", "classes = 4", "classes = 5")
    save(pytester.path / "net.pt", 5)
    assert command("update", "net-v1").code == 0
    printed = command("check", "--against", "main")
    assert printed.code == 1
    told = "CK202: the kwargs changed here, from classes=4 to classes=5: accept this if you mean it"
    assert told in printed.out
    text = (pytester.path / "pyproject.toml").read_text()
    (pytester.path / "pyproject.toml").write_text(text.replace("\nkwargs = { classes = 5 }", ""))
    save(pytester.path / "net.pt", 4)
    edit(
        pytester.path / "models.py",
        "self.head = nn.Linear(8, classes)",
        "self.head = nn.Linear(8, classes, False)",
    )
    assert command("update", "net-v1").code == 1
    printed = command("check", "--against", "main")
    assert "note: the kwargs changed here, from classes=4 to none\n" in printed.out
