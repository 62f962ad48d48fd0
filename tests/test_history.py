"""``ckpt-compat history``: a line for each change of a definition, and the commit that broke a checkpoint."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._cli.main import main
from pytest_ckpt_compat._history import builder, worker
from pytest_ckpt_compat._premerge import trees
from tests.conftest import Filled, Printed
from tests.history import NET, make_past, serve_without_forks
from tests.repository import commit, git

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]


@pytest.fixture
def past(pytester: pytest.Pytester, filled: Filled) -> Path:
    """The repository of ``tests/history.py``."""
    filled("past", lambda: make_past(pytester.path))
    return pytester.path


def short(folder: Path, ref: str) -> str:
    return git(folder, "rev-parse", ref)[:8]


def cells(text: str) -> list[list[str]]:
    """The rows of the table, without dates."""
    table = text.split("\n\n")[0]
    return [[c for n, c in enumerate(re.split(r"  +", line)) if n != 1] for line in table.splitlines()]


def saved(path: Path, body: str, classes: int = 4) -> str:
    """A file of the model's state_dict as it was under some tag."""
    module = nn.Module()
    module.add_module(body, nn.Linear(3, 8))
    module.add_module("head", nn.Linear(8, classes))
    torch.save(module.state_dict(), path)
    return path.name


def test_each_change_has_a_line(past: Path, command: Command) -> None:
    printed = command("history", "pkg.net:Net")
    assert (printed.code, printed.err) == (0, "")
    rows = cells(printed.out)
    broken = rows.pop(3)
    assert (broken[:2], broken[3]) == ([short(past, "rel/2.0~2"), "unknown"], "Edit 1")
    assert broken[2].startswith("cannot be built: importing pkg.net raised SyntaxError: ")
    assert rows == [
        ["commit", "loads before", "change", "subject"],
        [short(past, "v1.0"), "-", "there for the first time: 4 tensors", "Add the model"],
        [short(past, "v1.1"), "no", "2 of 4 tensors possibly renamed", "Edit 0"],
        [short(past, "rel/2.0"), "no", "head resized", "Edit 3"],
        [short(past, "v2.1"), "no", "2 tensors added", "Edit 4"],
        [short(past, "v2.2"), "yes", "norm: eps 0.001 -> 0.0001, computes something else", "Edit 5"],
    ]
    assert printed.out.splitlines()[-2:] == [
        "4 changes in 9 commits that touched the code, 3 of which do not load what came before; "
        "1 commit could not be built",
        f"note: pkg.net:Net is not there before {short(past, 'v1.0')}",
    ]


def test_what_was_answered_is_not_asked_again(
    past: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = command("history", "pkg.net:Net", "--since", "rel/2.0")
    assert first.code == 0

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(builder.Builder, "_asked", never)
    monkeypatch.setattr(trees, "extract", never)
    assert command("history", "pkg.net:Net", "--since", "rel/2.0") == first
    monkeypatch.undo()


def test_other_arguments_are_another_definition(past: Path, command: Command) -> None:
    printed = command("history", "pkg.net:Net", "--since", "v2.1", "--kwargs", "{width = 2}")
    assert "it begins here: 6 tensors" in printed.out
    wrong = command("history", "pkg.net:Net", "--since", "v2.2", "--kwargs", '{"depth": 2}')
    assert wrong.code == 2
    assert "cannot be built" in wrong.out
    assert "depth" in wrong.out


def test_as_data(past: Path, command: Command) -> None:
    printed = command("history", "pkg.net:Net", "--since", "v1.1", "--format", "json")
    data = json.loads(printed.out)
    assert (data["schema"], data["model"], data["kwargs"], data["commits"]) == (1, "pkg.net:Net", {}, 6)
    first, broken, resized, *_ = data["steps"]
    assert (first["state"], first["tensors"], first["loads_before"]) == ("begin", 4, None)
    assert (broken["state"], broken["tensors"]) == ("unbuildable", None)
    assert "SyntaxError" in broken["problem"]
    assert (resized["state"], resized["loads_before"]) == ("changed", False)
    assert resized["counts"] == {"head-resized": 2}
    assert resized["commit"] == git(past, "rev-parse", "rel/2.0")


def test_a_change_behind_a_commit_that_cannot_be_built(past: Path, command: Command) -> None:
    file = past / "pkg" / "net.py"
    text = file.read_text()
    file.write_text(text.replace("class Net", "class Net("))
    bad = commit(past, "Break it")
    file.write_text(text.replace("width, 5", "width, 6"))
    good = commit(past, "Widen it")
    row = cells(command("history", "pkg.net:Net", "--since", "v2.2").out)[-1]
    assert row[:2] == [good[:8], "no"]
    assert row[2] == f"head resized (or in {bad[:8]} before it, which cannot be built)"


def test_a_change_and_its_revert_are_both_told(past: Path, command: Command) -> None:
    file = past / "pkg" / "net.py"
    text = file.read_text()
    file.write_text(text.replace("width, 5", "width, 6"))
    there = commit(past, "Widen it")
    git(past, "revert", "--no-edit", "HEAD")
    back = git(past, "rev-parse", "HEAD")
    rows = cells(command("history", "pkg.net:Net", "--since", "v2.2").out)[2:]
    assert [row[0] for row in rows] == [there[:8], back[:8]]


def test_the_commit_that_broke_a_checkpoint(past: Path, command: Command) -> None:
    name = saved(past / "v10.pt", "body")
    printed = command("history", "pkg.net:Net", "--bisect", name)
    assert printed.code == 1
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"{short(past, 'v1.1')} (")
    assert lines[0].endswith(", t: Edit 0) broke v10.pt")
    assert lines[1].startswith(f"the last commit that loads it is {short(past, 'v1.1~1')} (")
    assert "CK103 v10.pt: 2 of 4 tensors possibly renamed" in lines
    assert f"  v10.pt -> pkg.net.Net (pkg/net.py:5) at {short(past, 'v1.1')}" in lines
    data = json.loads(command("history", "pkg.net:Net", "--bisect", name, "--format", "json").out)
    assert data["commit"]["commit"] == git(past, "rev-parse", "v1.1")
    assert data["good"]["commit"] == git(past, "rev-parse", "v1.1~1")
    assert data["verdict"]["counts"] == {"renamed": 2}


NEEDS_NUMBERS = """
    def _load_from_state_dict(self, state, prefix, *others):
        if float(state[prefix + "head.weight"].sum()) > 1e9:
            raise ValueError
        super()._load_from_state_dict(state, prefix, *others)
"""


def test_a_load_that_needs_numbers_is_not_known(past: Path, command: Command) -> None:
    file = past / "pkg" / "net.py"
    file.write_text(NET + NEEDS_NUMBERS)
    commit(past, "Look at numbers")
    rows = cells(command("history", "pkg.net:Net", "--since", "v2.2").out)
    assert rows[-1][1:] == ["unknown", rows[-1][2], "Look at numbers"]
    assert rows[-1][2].startswith("keys: 2 added, 4 removed, 2 changed, ")
    name = saved(past / "v10.pt", "body")
    assert command("history", "pkg.net:Net", "--since", "v2.2", "--bisect", name).code == 0


def test_a_registered_checkpoint_brings_its_options(past: Path, command: Command) -> None:
    module = nn.Module()
    module.add_module("body", nn.Linear(3, 2))
    module.add_module("head", nn.Linear(2, 4))
    state = {f"module.{key}": value for key, value in module.state_dict().items()}
    torch.save({"ema": state, "raw": {"x": torch.ones(1)}}, past / "old.pt")
    (past / "ckpt_compat.toml").write_text(
        '[[tool.ckpt_compat.checkpoint]]\nid = "old"\npath = "old.pt"\nmodel = "pkg.net:Net"\nkey = "ema"\n'
        'strip_prefix = "module."\nkwargs = { width = 2 }\n'
    )
    printed = command("history", "pkg.net:Net", "--bisect", "old")
    assert printed.code == 1, printed.out + printed.err
    assert printed.out.splitlines()[0].endswith("t: Edit 0) broke old")
    other = command("history", "pkg.net:Net", "--bisect", "old", "--kwargs", "{width = 3}")
    assert other.code == 2
    assert other.out.startswith("no commit is known that loads old; ")


def test_the_range_where_a_commit_cannot_be_built(past: Path, command: Command) -> None:
    file = past / "pkg" / "net.py"
    text = file.read_text()
    name = saved(past / "v20.pt", "trunk", 5)
    torch.save({**torch.load(name), "norm.weight": torch.ones(4), "norm.bias": torch.ones(4)}, name)
    assert command("history", "pkg.net:Net", "--bisect", name).code == 0
    file.write_text(text.replace("class Net", "class Net("))
    bad = commit(past, "Break it")
    file.write_text(text.replace("self.norm", "self.last"))
    good = commit(past, "Rename it")
    printed = command("history", "pkg.net:Net", "--since", "v2.1", "--bisect", name)
    assert printed.code == 1
    lines = printed.out.splitlines()
    assert lines[0] == "one of 2 commits broke v20.pt:"
    assert lines[1].startswith(f"  {bad[:8]} (")
    assert lines[1].endswith("cannot be told")
    assert lines[2].startswith(f"  {good[:8]} (")


def test_no_commit_loads_it(past: Path, command: Command) -> None:
    name = saved(past / "other.pt", "elsewhere", 7)
    printed = command("history", "pkg.net:Net", "--since", "v2.1", "--bisect", name)
    assert printed.code == 2
    assert printed.out.startswith("no commit is known that loads other.pt; at the last one, ")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (
            ["--bisect", "nothing.pt"],
            "is neither a file, nor a snapshot, nor the id of a registered checkpoint",
        ),
        (["--since", "v9"], "--since v9: is not known here; run: git fetch"),
        (["--kwargs", "{width"], "is no table"),
        (["--kwargs", "[1]"], "is no table"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    past: Path, command: Command, argv: list[str], complaint: str
) -> None:
    printed = command("history", "pkg.net:Net", *argv)
    assert printed.code == 2
    assert complaint in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_definition_that_is_nowhere(past: Path, command: Command) -> None:
    printed = command("history", "pkg.net:Gone", "--since", "v2.1")
    assert printed.code == 2
    assert "note: pkg.net:Gone is not there at any of these commits" in printed.out
    assert command("history", "pkg/net.py").err.startswith(
        "ckpt-compat: pkg/net.py: is not the name of a model"
    )


def test_a_module_under_its_new_name(past: Path, command: Command) -> None:
    git(past, "mv", "pkg/net.py", "pkg/nets.py")
    moved = commit(past, "Move it")
    printed = command("history", "pkg.nets:Net", "--since", "v2.2")
    assert printed.out.splitlines()[-1] == (
        f"note: pkg.nets:Net is not there before {moved[:8]}, which made it of pkg/net.py; "
        "what was before: ckpt-compat history pkg.net:Net"
    )
    rows = cells(command("history", "pkg.net:Net", "--since", "v2.2").out)
    assert rows[-1][0] == moved[:8]
    assert rows[-1][2].startswith("not there any more: ")


def test_a_merge_is_one_commit_and_a_dirty_tree_is_told(past: Path, command: Command) -> None:
    file = past / "pkg" / "net.py"
    git(past, "switch", "-q", "-c", "side")
    text = file.read_text()
    file.write_text(text.replace("width, 5", "width, 6"))
    commit(past, "Widen it")
    file.write_text(text.replace("width, 5", "width, 7"))
    commit(past, "Widen it more")
    git(past, "switch", "-q", "main")
    git(past, "merge", "-q", "--no-ff", "-m", "Merge side", "side")
    file.write_text(text)
    printed = command("history", "pkg.net:Net", "--since", "v2.2")
    assert [row[-1] for row in cells(printed.out)[1:]] == ["Edit 5", "Merge side"]
    assert "note: the work tree has changes that are not committed: they were not looked at" in printed.out


def test_a_shallow_clone(past: Path, command: Command, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(past, kept, symlinks=True)
    for each in past.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    git(past, "clone", "-q", "--depth", "2", f"file://{kept}", ".")
    printed = command("history", "pkg.net:Net")
    assert [row[-1] for row in cells(printed.out)[1:]] == ["Edit 4", "Edit 5"]
    assert "note: this clone is shallow, earlier commits are not here: git fetch --unshallow" in printed.out
    assert "git fetch --unshallow origin" in command("history", "pkg.net:Net", "--since", "v1.0").err


@pytest.mark.parametrize("inside", ["src", "a b/code"])
def test_code_in_a_folder(
    pytester: pytest.Pytester, command: Command, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_past(pytester.path, inside)
    printed = command("history", "pkg.net:Net", "--since", "v2.1")
    assert [row[1] for row in cells(printed.out)[1:]] == ["-", "yes"]


def test_a_project_in_a_folder_of_the_repository(
    past: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (past / "sub").mkdir()
    for name in ("pkg", "pyproject.toml"):
        git(past, "mv", name, f"sub/{name}")
    moved = commit(past, "Move all")
    (past / "other.py").write_text("x = 1\n")
    commit(past, "Not of the project")
    monkeypatch.chdir(past / "sub")
    assert main(["history", "pkg.net:Net", "--since", "v2.2"]) == 0
    out = capsys.readouterr().out
    assert [row[0] for row in cells(out)[1:]] == [moved[:8]]
    assert "0 changes in 2 commits that touched the code" in out
    assert f"note: pkg.net:Net is not there before {moved[:8]}" in out


def test_where_forks_are_not_safe(past: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("history", "pkg.net:Net", "--since", "v2.1", "--kwargs", "{width = 7}")
    with monkeypatch.context() as without:
        without.setattr(worker, "serve", serve_without_forks)
        without.setattr(worker, "FORKS", False)
        without.setenv("XDG_CACHE_HOME", str(past.parent / "other cache"))
        printed = command(*arguments)
    assert [row[1] for row in cells(printed.out)[1:]] == ["-", "yes"]
    assert command(*arguments) == printed


HOSTILE = {
    "prints": ("import sys; print('{\"number\": 1}'); sys.stderr.write('noise')", "it begins here"),
    "exits": ("raise SystemExit(0)", "importing pkg.net raised SystemExit: 0"),
    "ends": ("import os; os._exit(0)", "cannot be built"),
    "is killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its process ended with -9"),
    "kills its parent": (
        "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
        "its process ended with",
    ),
    "hangs": ("import time; time.sleep(600)", "it took more than 3 seconds"),
}


@pytest.mark.parametrize(("code", "told"), HOSTILE.values(), ids=HOSTILE)
def test_code_that_does_harm_at_its_import(
    pytester: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    monkeypatch.setattr(worker, "SECONDS", 3 if "hangs" in code or "sleep" in code else 120)
    folder = make_past(pytester.path)
    (folder / "pkg" / "net.py").write_text(f"{code}\n{NET}")
    commit(folder, "Harm")
    (folder / "pkg" / "net.py").write_text(NET)
    commit(folder, "Mend")
    printed = command("history", "pkg.net:Net", "--since", "HEAD~1")
    rows = cells(printed.out)[1:]
    assert told in rows[0][2]
    assert (
        len(rows) == 1 if "begins" in told else rows[1][2].startswith("there for the first time: 4 tensors")
    )


def test_a_model_in_a_submodule(past: Path, command: Command, tmp_path: Path) -> None:
    other = make_past(tmp_path / "library")
    git(past, "submodule", "add", "-q", f"file://{other}", "library")
    commit(past, "Add the library")
    printed = command("history", "library.pkg.net:Net", "--since", "HEAD")
    assert printed.code == 2
    assert "is not there at any of these commits" in printed.out
