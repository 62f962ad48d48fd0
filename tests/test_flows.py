"""Everyday flows, from a change that is meant to a green run: how many commands they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._snapshots import accepted
from tests.conftest import Printed
from tests.repository import ENTRY, commit, edit, git, make_project

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]

TWO = """
[[tool.ckpt_compat.checkpoint]]
id = "other-v1"
path = "net.pt"
model = "models:Net"
kwargs = { classes = 4 }
"""


@pytest.fixture
def branch(pytester: pytest.Pytester, command: Command) -> Callable[[str], Path]:
    """Makes a project with these registrations, recorded and committed on main, and a branch from it."""

    def make(entry: str) -> Path:
        folder = make_project(pytester.path, entry)
        assert command("update").code == 0
        commit(folder, "first")
        git(folder, "switch", "-q", "-c", "change")
        return folder

    return make


def leftovers(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("ckpt_snapshots/**/*.*"))


def test_arguments_changed_on_purpose_take_one_accept_and_one_update(
    branch: Callable[[str], Path], command: Command
) -> None:
    folder = branch(ENTRY + "kwargs = { classes = 4 }\n")
    edit(folder / "pyproject.toml", "classes = 4", "classes = 5")
    assert command("check", "--against", "main").code == 1
    assert command("accept", "net-v1", "--all", "--reason", "five classes now").code == 0
    printed = command("update")
    assert printed.code == 0
    assert (
        "removed   ckpt_snapshots/definitions/models.Net(classes=4).json: "
        "ckpt_snapshots/definitions/models.Net(classes=5).json takes its place"
    ) in printed.out.splitlines()
    printed = command("check", "--against", "main")
    short = git(folder, "rev-parse", "main")[:8]
    assert (printed.code, "CK903" in printed.out) == (0, False), printed.out
    assert (
        "models.Net(classes=4).json of main is ckpt_snapshots/definitions/models.Net(classes=5).json here: "
        "other arguments of the model"
    ) in printed.out.replace(f" (merge base {short})", "")
    assert command("check").code == 0
    commit(folder, "five classes")
    git(folder, "switch", "-q", "main")
    git(folder, "merge", "-q", "change")
    printed = command("check", "--against", "main")
    assert (printed.code, "CK903" in printed.out) == (0, False), printed.out


def test_a_deleted_registration_takes_one_command(branch: Callable[[str], Path], command: Command) -> None:
    folder = branch(ENTRY + TWO)
    edit(folder / "pyproject.toml", TWO, "")
    printed = command("check", "--against", "main")
    assert printed.code == 2
    assert 'ckpt-compat retire other-v1 --reason "..."' in printed.out
    printed = command("retire", "other-v1", "--reason", "nobody loads it")
    assert printed.out.splitlines() == [
        "retired   other-v1: nobody loads it",
        "removed   ckpt_snapshots/other-v1.json",
        "removed   ckpt_snapshots/definitions/models.Net(classes=4).json",
        "wrote     ckpt_snapshots/accepted/CK901.other-v1.a69a1e32.toml: commit it, too",
    ]
    (entry,) = accepted.load(folder / "ckpt_snapshots")
    assert leftovers(folder) == [
        f"ckpt_snapshots/{entry.file}",
        "ckpt_snapshots/definitions/models.Net.json",
        "ckpt_snapshots/net-v1.json",
    ]
    assert entry.changes == ("other-v1 -> (none)", "models.Net(classes=4) -> (none)")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert printed.out.count("nobody loads it") == 1
    assert "models.Net(classes=4)" not in printed.out
    assert command("check").code == 0


def test_a_deleted_registration_means_the_same_everywhere(
    branch: Callable[[str], Path], command: Command, pytester: pytest.Pytester
) -> None:
    """It could not be checked: 2. Without a reference, its snapshot is named, with what to do."""
    folder = branch(ENTRY + TWO)
    edit(folder / "pyproject.toml", TWO, "")
    told = 'no test uses it; remove it with ckpt-compat retire other-v1 --reason "..."'
    for words, code in {("check",): 0, ("status",): 0, ("update", "--verify"): 1}.items():
        printed = command(*words)
        assert (printed.code, told in printed.out) == (code, True), printed.out
    assert told in pytester.runpytest_inprocess().stdout.str()
    assert command("check", "--against", "main").code == 2
    result = pytester.runpytest_inprocess("--ckpt-against", "main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    command("retire", "other-v1", "--reason", "nobody loads it")
    for words in (("check",), ("status",), ("update", "--verify"), ("check", "--against", "main")):
        printed = command(*words)
        assert (printed.code, "no test uses it" in printed.out) == (0, False), printed.out


def test_what_was_accepted_of_a_retired_checkpoint_goes_too(
    branch: Callable[[str], Path], command: Command
) -> None:
    folder = branch(ENTRY + TWO)
    edit(folder / "models.py", "self.head =", "self.extra = nn.Linear(3, 3)\n        self.head =")
    assert command("accept", "net-v1", "other-v1", "--all", "--reason", "new layer").code == 0
    edit(folder / "pyproject.toml", TWO, "")
    assert command("retire", "other-v1", "--reason", "nobody loads it").code == 0
    found = {(each.id, each.rule) for each in accepted.load(folder / "ckpt_snapshots")}
    assert found == {("net-v1", "CK101"), ("other-v1", "CK901")}


@pytest.mark.parametrize(
    "words", [("update", "--against", "main"), ("pytest", "--ckpt-prune", "--ckpt-against", "main")]
)
def test_the_entry_of_a_retired_checkpoint_goes_by_one_command_after_the_merge(
    branch: Callable[[str], Path], command: Command, words: tuple[str, ...], pytester: pytest.Pytester
) -> None:
    folder = branch(ENTRY + TWO)
    edit(folder / "pyproject.toml", TWO, "")
    assert command("retire", "other-v1", "--reason", "nobody loads it").code == 0

    def run() -> None:
        if words[0] == "pytest":
            pytester.runpytest_inprocess(*words[1:]).assert_outcomes(passed=1)
        else:
            assert command(*words).code == 0

    run()  # on the branch, a comparison with main needs it
    assert command("update").code == 0
    (entry,) = accepted.load(folder / "ckpt_snapshots")
    commit(folder, "retired")
    git(folder, "switch", "-q", "main")
    git(folder, "merge", "-q", "change")
    git(folder, "switch", "-q", "-c", "next")
    assert command("update").code == 0  # which cannot know what it is compared with
    printed = command("check", "--against", "main")
    assert printed.code == 0
    assert f"CK903 {entry.file}: the accepted CK901 * of other-v1 (nobody loads it): " in printed.out
    assert "(ckpt-compat update --against main takes it out)" in printed.out
    run()
    assert accepted.load(folder / "ckpt_snapshots") == ()
    printed = command("check", "--against", "main")
    assert (printed.code, "CK903" in printed.out) == (0, False)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("net-v1", "--reason", "old"), "retire net-v1: is still registered; delete its registration first"),
        (("net-v9", "--reason", "old"), "retire net-v9: has no snapshot in ckpt_snapshots; "),
    ],
)
def test_what_cannot_be_retired(
    branch: Callable[[str], Path], command: Command, words: tuple[str, ...], complaint: str
) -> None:
    folder = branch(ENTRY)
    before = leftovers(folder)
    printed = command("retire", *words)
    assert (printed.code, complaint in printed.err) == (2, True), printed.err
    assert leftovers(folder) == before


def test_a_pruned_snapshot_is_restored_to_be_retired(branch: Callable[[str], Path], command: Command) -> None:
    folder = branch(ENTRY + TWO)
    edit(folder / "pyproject.toml", TWO, "")
    (folder / "ckpt_snapshots" / "other-v1.json").unlink()
    for name in sorted((folder / "ckpt_snapshots" / "definitions").glob("*")):
        if "Net" not in name.name:
            name.unlink()
    printed = command("retire", "other-v1", "--reason", "nobody loads it")
    assert printed.code == 2
    words = printed.err.partition("if it was pruned, ")[2].partition(" first")[0]
    assert words == "git restore ckpt_snapshots/other-v1.json"
    git(folder, *words.split()[1:])
    assert command("retire", "other-v1", "--reason", "nobody loads it").code == 0


def test_a_retirement_needs_a_reason(branch: Callable[[str], Path], command: Command) -> None:
    folder = branch(ENTRY + TWO)
    edit(folder / "pyproject.toml", TWO, "")
    before = leftovers(folder)
    printed = command("retire", "other-v1", "--reason", "...")
    assert (printed.code, leftovers(folder)) == (2, before)
    assert "retire other-v1: has no reason; say why" in printed.err


@pytest.mark.parametrize("words", [("update",), ("pytest", "--ckpt-prune")])
def test_an_entry_that_is_no_longer_needed_is_taken_out(
    branch: Callable[[str], Path], command: Command, words: tuple[str, ...], pytester: pytest.Pytester
) -> None:
    folder = branch(ENTRY)
    edit(folder / "models.py", "self.head =", "self.extra = nn.Linear(3, 3)\n        self.head =")
    assert command("accept", "net-v1", "--all", "--reason", "new layer").code == 0
    (name,) = accepted.names(folder / "ckpt_snapshots")
    earlier = folder / "ckpt_snapshots" / "accepted.toml"
    kept = (folder / "ckpt_snapshots" / name).read_text()
    earlier.write_text("# by hand\n" + kept.replace("net-v1", "net-v0"))
    edit(folder / "models.py", "self.extra = nn.Linear(3, 3)\n        self.head =", "self.head =")
    printed = command("check")
    assert printed.code == 0
    assert printed.out.count("(ckpt-compat update takes it out)") == 2
    if words[0] == "update":
        lines = command("update").out.splitlines()
    else:
        lines = pytester.runpytest_inprocess("--ckpt-prune").outlines
    about = "removed   {}: the accepted CK101 extra.* of {} (new layer): it covers nothing any more"
    assert [line for line in lines if line.startswith("removed")] == [
        about.format("accepted.toml", "net-v0"),
        about.format(name, "net-v1"),
    ]
    assert "# by hand" in earlier.read_text()
    assert not (folder / "ckpt_snapshots" / "accepted").exists()
    assert accepted.load(folder / "ckpt_snapshots") == ()
    printed = command("check")
    assert (printed.code, "CK903" in printed.out) == (0, False)


@pytest.mark.parametrize("merged", [False, True], ids=["on one branch", "after a merge"])
def test_a_second_round_of_accepting_leaves_no_entry_of_the_first(
    branch: Callable[[str], Path], command: Command, merged: bool
) -> None:
    """Each round takes one accept, one update and ends green; a reason stays with what it was given for."""
    folder = branch(ENTRY)
    layer = "self.extra = nn.Linear(3, 3)\n        self.head ="
    edit(folder / "models.py", "self.head =", layer)
    for round_, classes in enumerate((5, 6, 7)):
        edit(folder / "models.py", f"classes={4 if not round_ else classes - 1}", f"classes={classes}")
        lines = command("check", "--against", "main").out.splitlines()
        ids = list(dict.fromkeys(line.split()[3] for line in lines if "accept:" in line))
        record = "  record: ckpt-compat update --against main, if nothing was trained with it"
        assert {line for line in lines if "record:" in line} <= {record}
        assert merged or not round_ or record in lines
        printed = command("accept", *ids, "--all", "--reason", f"{classes} classes", "--against", "main")
        assert printed.code == 0, printed.err
        # A definition recorded on this branch was accepted, too, and main never had it.
        printed = command("update", "--against", "main")
        assert (printed.code, "of net-v1" in printed.out) == (0, False), printed.out
        for words in (("check",), ("check", "--against", "main")):
            printed = command(*words)
            assert (printed.code, "CK903" in printed.out) == (0, False), printed.out
        found = {(each.id, each.rule): each.reason for each in accepted.load(folder / "ckpt_snapshots")}
        assert found["net-v1", "CK101"] == "5 classes"
        assert found["net-v1", "CK202"] == f"{classes} classes"
        own = [each for each in accepted.load(folder / "ckpt_snapshots") if each.id == "net-v1"]
        assert len(own) == 2
        if merged:
            commit(folder, f"{classes} classes")
            git(folder, "branch", "-f", "main")


def test_an_update_against_a_reference_keeps_an_accepted_change_of_settings(
    branch: Callable[[str], Path], command: Command
) -> None:
    folder = branch(ENTRY)
    edit(folder / "models.py", "nn.ReLU()", "nn.GELU()")
    assert (
        command("accept", "net-v1", "--rule", "CK502", "--reason", "smoother", "--against", "main").code == 0
    )
    for words in (("update", "--against", "main"), ("update",), ("update", "--against", "main")):
        assert command(*words).code == 0
        assert [each.rule for each in accepted.load(folder / "ckpt_snapshots")] == ["CK502"], words
    printed = command("check", "--against", "main")
    assert "CK502 net-v1: accepted" in printed.out
    commit(folder, "GELU")
    git(folder, "branch", "-f", "main")
    assert command("update", "--against", "main").code == 0
    assert accepted.load(folder / "ckpt_snapshots") == ()
