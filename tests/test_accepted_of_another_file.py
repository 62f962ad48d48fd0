"""What was accepted of a checkpoint's earlier file: only comparing with a reference tells when it is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Printed, save
from tests.repository import commit, edit, git, make_branch

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]


@pytest.fixture
def replaced(pytester: pytest.Pytester, command: Command) -> pytest.Pytester:
    """A branch on which model and file have other names and sizes, and what that breaks is accepted."""
    make_branch(pytester)
    edit(pytester.path / "models.py", 'body="body"', 'body="trunk"')
    edit(pytester.path / "models.py", "classes=4", "classes=5")
    save(pytester.path / "net.pt", 5, "trunk")
    command("update", "net-v1")
    assert command("update").code == 0
    command("accept", "net-v1", "--all", "--reason", "trained anew", "--against", "main")
    accepted = command("accept", "models.Net", "--all", "--reason", "trained anew", "--against", "main")
    assert accepted.code == 0, accepted.out + accepted.err
    return pytester


def test_a_plain_update_leaves_it(replaced: pytest.Pytester, command: Command) -> None:
    """It was said to take the entry out, and took it out; the branch was red again, for ever."""
    entries = replaced.path / "ckpt_snapshots" / "accepted"
    before = {path.name: path.read_text() for path in entries.iterdir()}
    plain = command("check")
    assert (plain.code, "CK903" in plain.out) == (0, False), plain.out
    assert command("update").code == 0
    assert {path.name: path.read_text() for path in entries.iterdir()} == before
    assert command("check", "--against", "main").code == 0


def test_the_comparison_that_no_longer_needs_it_names_the_command(
    replaced: pytest.Pytester, command: Command
) -> None:
    commit(replaced.path)
    git(replaced.path, "branch", "-q", "-f", "main")
    printed = command("check", "--against", "main")
    assert printed.code == 0
    assert printed.out.count("no longer occurs (ckpt-compat update --against main takes it out)") >= 1
    assert command("update", "--against", "main").code == 0
    assert not (replaced.path / "ckpt_snapshots" / "accepted").exists()
    assert "CK903" not in command("check", "--against", "main").out
