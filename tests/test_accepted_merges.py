"""Accepted breaks of two branches: git merges them, and what is merged means what both meant."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._snapshots import accepted, accepted_files, accepted_merge
from pytest_ckpt_compat._snapshots.accepted import Entry
from tests.conftest import Printed
from tests.repository import ENTRY, commit, edit, git, make_project

Command = Callable[..., Printed]
IDS = ("é", "É", "x" * 300, "a/b", "a-b", "con", "..", "Net", "net", "it's", "日本", "a\\b:c?")


def entry(identifier: str, reason: str = "meant", *changes: str) -> Entry:
    return Entry(identifier, "CK101", "*", reason, None, changes or ("(none) -> a float32[1]",))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "first")
    return tmp_path


def on_branch(folder: Path, name: str, work: Callable[[], object]) -> None:
    git(folder, "switch", "-q", "-c", name, "main")
    work()
    commit(folder, name)
    git(folder, "switch", "-q", "main")


def merges(folder: Path, *names: str) -> bool:
    done = []
    for name in names:
        words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "merge", "-q", name]
        done.append(subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode)
    return not any(done)


@pytest.mark.parametrize("first", [[], [entry("old")]])
def test_two_branches_that_each_add_an_entry(repository: Path, first: list[Entry]) -> None:
    accepted_files.save(repository, first)
    commit(repository, "first entries")
    for name in ("one", "two"):
        on_branch(repository, name, partial(accepted_files.save, repository, [entry(name)]))
    assert merges(repository, "one", "two")
    assert {each.id for each in accepted.load(repository)} == {"one", "two", *(each.id for each in first)}


@pytest.mark.parametrize(
    ("one", "two", "number"),
    [
        (entry("net", "meant"), entry("net", "meant"), 1),
        (entry("net", "meant"), entry("net", "as agreed"), 2),
        (entry("net", "meant", "(none) -> a x[1]"), entry("net", "meant", "(none) -> b x[1]"), 2),
    ],
)
def test_two_branches_that_accept_a_break_of_the_same_checkpoint(
    repository: Path, one: Entry, two: Entry, number: int
) -> None:
    on_branch(repository, "one", lambda: accepted_files.save(repository, [one]))
    on_branch(repository, "two", lambda: accepted_files.save(repository, [two]))
    assert merges(repository, "one", "two")
    assert len(accepted.load(repository)) == number


def test_an_entry_that_one_branch_takes_out(repository: Path) -> None:
    accepted_files.save(repository, [entry("old"), entry("older")])
    commit(repository, "first entries")
    on_branch(repository, "one", lambda: accepted_files.drop(repository, [entry("old")]))
    on_branch(repository, "two", lambda: accepted_files.save(repository, [entry("new")]))
    assert merges(repository, "one", "two")
    assert {each.id for each in accepted.load(repository)} == {"older", "new"}


def test_names_that_no_disk_takes_for_another(tmp_path: Path) -> None:
    names = accepted_files.save(tmp_path, [entry(each) for each in IDS])
    assert len({name.lower() for name in names}) == len(IDS)
    for name in names:
        assert name.isascii()
        assert len(name) < 100
        assert not set(Path(name).name) & set('<>:"/\\|?* ')
    assert sorted(each.id for each in accepted.load(tmp_path)) == sorted(map(visible, IDS))
    accepted_files.drop(tmp_path, accepted.load(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted_files.save(tmp_path, [entry("old")])
    written: list[str] = []

    def fails(path: Path, text: str) -> None:
        if len(written) == 1:
            written.append(path.name)
            raise OSError("no space")
        written.append(path.name)
        path.write_text(text)

    monkeypatch.setattr(accepted_files, "write", fails)
    with pytest.raises(OSError, match="no space"):
        accepted_files.save(tmp_path, [entry("one"), entry("two")])
    assert [each.id for each in accepted.load(tmp_path)] == ["old"]


def test_an_entry_of_the_earlier_file_is_updated_there(tmp_path: Path) -> None:
    (tmp_path / "accepted.toml").write_text(
        "# ours\n[[accepted]]\nid = 'net'\nrule = 'CK101'\nkey = '*'\n"
        "reason = 'one'\nchanges = ['(none) -> b']\n"
    )
    new = entry("net", "two", "(none) -> b", "(none) -> c")
    assert accepted_files.save(tmp_path, [new, entry("other")])[0] == "accepted.toml"
    assert {each.id: each.file.partition("/")[0] for each in accepted.load(tmp_path)} == {
        "net": "accepted.toml",
        "other": "accepted",
    }
    assert (tmp_path / "accepted.toml").read_text().startswith("# ours\n")
    accepted_files.drop(tmp_path, accepted.load(tmp_path))
    assert (tmp_path / "accepted.toml").read_text() == "# ours\n"


def test_entries_that_another_comes_to_cover_go(tmp_path: Path) -> None:
    for number in ("1", "2"):
        folder = tmp_path / number
        accepted_files.save(folder, [entry("net", number, f"(none) -> {number}")])
        for path in (folder / "accepted").iterdir():
            (tmp_path / "accepted").mkdir(exist_ok=True)
            path.rename(tmp_path / "accepted" / path.name)
    assert len(accepted.load(tmp_path)) == 2
    accepted_files.save(tmp_path, [entry("net", "all", "(none) -> 1", "(none) -> 2", "(none) -> 3")])
    assert [each.reason for each in accepted.load(tmp_path)] == ["all"]


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_two_branches_that_extend_one_entry(repository: Path, style: str) -> None:
    """Git sees a conflict; what both accepted is kept, with both reasons."""
    git(repository, "config", "merge.conflictStyle", style)
    accepted_files.save(repository, [entry("net", "meant", "(none) -> a x[1]")])
    commit(repository, "first entries")
    for name in ("one", "two"):
        more = entry("net", f"meant; {name}", "(none) -> a x[1]", f"(none) -> {name} x[1]")
        on_branch(repository, name, partial(accepted_files.save, repository, [more]))
    assert not merges(repository, "one", "two")
    with pytest.raises(SnapshotError, match=r"conflict markers.*ckpt-compat update keeps what both"):
        accepted.load(repository)
    (line,) = accepted_merge.settle(repository)
    assert line.endswith("what both branches accepted (3 changes); review it")
    (found,) = accepted.load(repository)
    assert (found.reason, found.changes) == (
        "meant; one; two",
        ("(none) -> a x[1]", "(none) -> one x[1]", "(none) -> two x[1]"),
    )
    assert list(accepted_merge.settle(repository)) == []


# -- whole flows ---------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_two_branches_that_accept_end_green_by_a_merge_alone(
    pytester: pytest.Pytester, command: Command
) -> None:
    """Each accepts a break of its own of one checkpoint; no command follows the merge."""
    folder = make_project(pytester.path)
    assert command("update").code == 0
    models = folder / "models.py"
    edit(
        models,
        "        self.head =",
        "        # The layers\n        # above,\n        # the head\n        self.head =",
    )
    commit(folder, "first")
    layers = {
        "one": ("        if extra:", "        self.shift = nn.Parameter(torch.ones(1))\n        if extra:"),
        "two": ("nn.Linear(8, classes)", "nn.Linear(8, classes + 1)"),
    }
    for name, change in layers.items():
        git(folder, "switch", "-q", "-c", name, "main")
        edit(models, *change)
        assert command("accept", "net-v1", "--all", "--reason", "the new task").code == 0
        assert command("update").code == 0
        commit(folder, name)
        git(folder, "switch", "-q", "main")
    assert merges(folder, "one", "two")
    printed = command("check")
    assert (printed.code, "CK903" in printed.out) == (0, False), printed.out
    assert command("update", "--verify").code == 0


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_what_an_update_takes_out_is_not_what_a_twin_still_covers(
    pytester: pytest.Pytester, command: Command
) -> None:
    """Two branches gave the same reason for changes of one rule; one of them is over."""
    folder = make_project(pytester.path, ENTRY)
    assert command("update").code == 0
    edit(folder / "models.py", "classes=4", "classes=5")
    assert command("accept", "net-v1", "--rule", "CK202", "--reason", "five").code == 0
    (name,) = accepted.names(folder / "ckpt_snapshots")
    text = (folder / "ckpt_snapshots" / name).read_text()
    (folder / "ckpt_snapshots" / "accepted" / "other.toml").write_text(text.replace("[5", "[9"))
    printed = command("check")
    assert printed.code == 0
    assert "accepted/other.toml: the accepted CK202 * of net-v1 (five) no longer occurs" in printed.out
    assert command("update").code == 0
    assert accepted.names(folder / "ckpt_snapshots") == (name,)
    printed = command("check")
    assert (printed.code, "no longer occurs" in printed.out) == (0, False)
