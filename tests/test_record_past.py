"""``ckpt-compat record``: a past without checkpoint files is recorded, registered and guarded."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._core import toml
from tests.conftest import Filled, Printed
from tests.history import make_past
from tests.repository import commit, edit, git

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]


@pytest.fixture
def past(pytester: pytest.Pytester, filled: Filled) -> Path:
    """The repository of ``tests/history.py``."""
    filled("past", lambda: make_past(pytester.path))
    return pytester.path


@pytest.fixture
def recorded(pytester: pytest.Pytester, filled: Filled, command: Command) -> Path:
    """The same, with two tags recorded: today's code loads one with a warning, and the other not."""

    def make() -> None:
        make_past(pytester.path)
        done = command("record", "--at", "v1.0", "--at", "v2.1", "--model", "pkg.net:Net")
        assert (done.code, done.err) == (0, "")

    filled("recorded past", make)
    return pytester.path


def test_a_past_is_recorded_and_guarded_by_one_command(past: Path, command: Command) -> None:
    printed = command("record", "--at", "v1.0", "--at", "v2.1", "--model", "pkg.net:Net")
    one, two = (git(past, "rev-parse", f"{tag}^{{commit}}")[:8] for tag in ("v1.0", "v2.1"))
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        f"recorded  ckpt_snapshots/pkg.net.Net@v1.0.json: 4 tensors, as commit {one} has it",
        f"recorded  ckpt_snapshots/pkg.net.Net@v2.1.json: 6 tensors, as commit {two} has it",
        "added     pkg.net.Net@* to ckpt_compat.toml: pkg.net:Net",
        "recorded  ckpt_snapshots/definitions/pkg.net.Net.json: 6 tensors",
    ]
    checked = command("check")
    assert checked.code == 1
    said = "CK103 pkg.net.Net@v1.0: 2 of 4 tensors possibly renamed, head resized, 2 tensors missing"
    assert said in checked.out
    assert "CK502 pkg.net.Net@v2.1: loads, norm: eps 0.001 -> 0.0001, computes something else" in checked.out
    assert "is absent" not in checked.out
    assert "compared  2 checkpoints, 10 tensors" in checked.out


def test_a_changed_setting_is_told_once(past: Path, command: Command) -> None:
    """By the recorded version, and not by the definition's own snapshot again."""
    git(past, "tag", "today")
    command("record", "--at", "today", "--model", "pkg.net:Net")
    edit(past / "pkg" / "net.py", "eps=1e-4", "eps=1e-3")
    command("check", "--report", "r.json")
    (entry,) = json.loads((past / "r.json").read_text())["checkpoints"]
    assert [each["rule"] for each in entry["changes"]].count("CK502") == 1
    assert "more change" not in command("check").out


def test_pytest_checks_it(recorded: Path, pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("-q")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED ckpt_compat.toml::pkg.net.Net@v1.0 - *"])


def test_again_changes_nothing(recorded: Path, command: Command) -> None:
    before = {path: path.read_bytes() for path in recorded.rglob("*.[jt][so]*[nl]") if path.is_file()}
    printed = command("record", "--at", "v1.0", "--model", "pkg.net:Net")
    assert (printed.code, printed.out) == (0, "unchanged ckpt_snapshots/pkg.net.Net@v1.0.json\n")
    assert before == {path: path.read_bytes() for path in before}


def test_a_later_tag_needs_no_other_registration(recorded: Path, command: Command) -> None:
    file = recorded / "ckpt_compat.toml"
    before = file.read_text()
    printed = command("record", "--at", "v2.2", "--model", "pkg.net:Net")
    assert printed.code == 0
    assert file.read_text() == before
    assert "compared  3 checkpoints" in command("check").out


def test_what_is_frozen_stays(recorded: Path, command: Command) -> None:
    file = recorded / "ckpt_snapshots" / "pkg.net.Net@v1.0.json"
    before = file.read_bytes()
    git(recorded, "tag", "-f", "v1.0", "v1.1")
    printed = command("record", "--at", "v1.0", "--at", "v2.2", "--model", "pkg.net:Net")
    assert printed.code == 2
    failed, other = printed.out.splitlines()
    assert failed.startswith("failed    ckpt_snapshots/pkg.net.Net@v1.0.json: is of commit ")
    assert "has another definition (keys: 2 added, 2 removed); a recorded past is frozen" in failed
    assert other.startswith("recorded  ckpt_snapshots/pkg.net.Net@v2.2.json: 6 tensors")
    named = command("update", "pkg.net.Net@v1.0")
    assert "is recorded as commit " in named.out
    assert command("update").code == 1
    assert file.read_bytes() == before


def test_where_it_is_not_there_or_cannot_be_built(past: Path, command: Command) -> None:
    broken = git(past, "rev-parse", "rel/2.0~2")
    printed = command("record", "--at", "v1.0~1", "--at", broken, "--at", "rel/2.0", "--model", "pkg.net:Net")
    assert printed.code == 2
    absent, failed, recorded, *_ = printed.out.splitlines()
    assert absent.startswith("failed    pkg.net.Net: is not there in v1.0~1 (commit ")
    assert failed.startswith(
        f"failed    pkg.net.Net: cannot be built as {broken} (commit {broken[:8]}) has it: "
    )
    assert "SyntaxError" in failed
    assert recorded.startswith("recorded  ckpt_snapshots/pkg.net.Net@rel/2.0.json: 4 tensors")
    assert "CK101 pkg.net.Net@rel/2.0: 2 of 6 tensors missing" in command("check").out
    assert command("record", "--at", "rel/2.0", "--model", "pkg.net:Net").out.startswith("unchanged")


def test_several_models_with_arguments_of_their_own(past: Path, command: Command) -> None:
    (past / "pyproject.toml").write_text(
        (past / "pyproject.toml").read_text() + '\n[tool.ckpt_compat]\nsnapshot_dir = "snaps"\n'
    )
    command_line = ["record", "--at", "v2.2", "--model", "pkg.net:Net", "--kwargs", "{width = 2}"]
    printed = command(*command_line, "--model", "pkg.net:Net", "--model", "pkg.net:Other")
    assert printed.code == 2
    assert "failed    pkg.net.Other: is not there in v2.2 (commit " in printed.out
    tables = toml.parse((past / "pyproject.toml").read_text())["tool"]["ckpt_compat"]["checkpoint"]
    assert tables == [
        {"path": "pkg.net.Net(width=2)@*", "model": "pkg.net:Net", "kwargs": {"width": 2}},
        {"path": "pkg.net.Net@*", "model": "pkg.net:Net"},
    ]
    assert not (past / "ckpt_compat.toml").exists()
    assert (past / "snaps" / "pkg.net.Net(width=2)@v2.2.json").exists()
    assert command("check").code == 0


def test_the_other_commands_know_it(recorded: Path, command: Command) -> None:
    rows = [line.split() for line in command("status").out.splitlines()]
    assert [row[:4] for row in rows[1:]] == [
        ["pkg.net.Net@v1.0", "recorded", "yes", "no"],
        ["pkg.net.Net@v2.1", "recorded", "yes", "yes"],
    ]
    verified = command("update", "--verify")
    assert (verified.code, "skipped" in verified.out) == (0, False), verified.out
    done = command("accept", "pkg.net.Net@v1.0", "--all", "--reason", "nobody has one")
    assert done.code == 0
    assert command("check").code == 0
    gone = command("retire", "pkg.net.Net@v1.0", "--reason", "nobody has one")
    assert gone.code == 0, gone.err
    assert "removed   ckpt_snapshots/pkg.net.Net@v1.0.json" in gone.out
    assert (recorded / "ckpt_snapshots" / "definitions" / "pkg.net.Net.json").exists()
    printed = command("check")
    assert printed.code == 0
    assert "compared  1 checkpoint" in printed.out
    assert "left " not in gone.out
    gone = command("retire", "pkg.net.Net@v2.1", "--reason", "nobody has one")
    told = "left      the table of pkg.net.Net@* in ckpt_compat.toml, which finds nothing now: delete it"
    assert (gone.code, gone.out.splitlines()[-1]) == (0, told), gone.out + gone.err


def test_a_prune_leaves_it(recorded: Path, pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess("-q", "--ckpt-prune")
    names = sorted(path.name for path in (recorded / "ckpt_snapshots").rglob("*.json"))
    assert names == ["pkg.net.Net.json", "pkg.net.Net@v1.0.json", "pkg.net.Net@v2.1.json"]


def test_a_migration_mends_a_recorded_past(recorded: Path, command: Command) -> None:
    (recorded / "old.py").write_text(
        "def renamed(state):\n    return {k.replace('body', 'trunk'): v for k, v in state.items()}\n"
    )
    edit(
        recorded / "ckpt_compat.toml",
        'model = "pkg.net:Net"',
        'model = "pkg.net:Net"\nmigrate = "old:renamed"',
    )
    printed = command("check")
    assert "CK202 pkg.net.Net@v1.0: head resized, 2 tensors missing" in printed.out


def test_against_a_commit_that_has_it(recorded: Path, command: Command) -> None:
    commit(recorded, "Record the past")
    git(recorded, "switch", "-q", "-c", "work")
    assert command("check", "--against", "main").code == 0
    edit(recorded / "pkg" / "net.py", "self.norm", "self.last")
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert printed.out.startswith("breaks introduced here: 2\n")
    assert " pkg.net.Net@v2.1: " in printed.out


def test_a_snapshot_of_a_past_is_a_checkpoint_to_bisect(recorded: Path, command: Command) -> None:
    printed = command("history", "pkg.net:Net", "--bisect", "pkg.net.Net@v1.0")
    assert printed.code == 1
    assert printed.out.startswith(git(recorded, "rev-parse", "v1.1")[:8])


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "record: is given no past; give --at REF, or --package NAME==VERSION"),
        (["--at", "v9"], "--at v9: is not known here; run: git fetch"),
        (["--package", "net"], "--package net: is not a version of a package; write it as name==1.0"),
        (["--package=-r==1"], "is not a version of a package"),
        (["--package", "https://example.com/x.whl"], "is not a version of a package"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    past: Path, command: Command, argv: list[str], complaint: str
) -> None:
    printed = command("record", "--model", "pkg.net:Net", *argv)
    assert (printed.code, printed.out) == (2, "")
    assert complaint in printed.err
    assert not (past / "ckpt_snapshots").exists()


BODY = """from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
"""


def wheel(folder: Path, version: str, body: str) -> None:
    """A release of ``tinynet`` whose requirement nobody can install."""
    info = f"tinynet-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tinynet-{version}-py3-none-any.whl", "w") as file:
        file.writestr("tinynet/__init__.py", body)
        metadata = f"Metadata-Version: 2.1\nName: tinynet\nVersion: {version}\nRequires-Dist: torch==99\n"
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases that pip finds by the user's configuration, and nowhere else."""
    for version, line in (
        ("1.0", "self.body = nn.Linear(3, width)"),
        ("1.1", "self.trunk = nn.Linear(3, width)"),
    ):
        wheel(tmp_path, version, f"{BODY}        {line}\n")
    wheel(tmp_path, "1.2", f"import nothing_of_this_name\n{BODY}")
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {tmp_path}\nuser = true\n")
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))


@pytest.mark.usefixtures("releases")
def test_releases_of_a_package(past: Path, command: Command) -> None:
    (past / "tinynet.py").write_text(BODY + "        self.trunk = nn.Linear(3, width)\n")
    (past / "mine.py").write_text("import tinynet\n\n\ndef small():\n    return tinynet.Net(2)\n")
    options = [f"--package=tinynet=={version}" for version in ("1.0", "1.1", "1.2", "9")]
    models = ["--model", "tinynet:Net", "--kwargs", "{width = 4}", "--model", "mine:small"]
    printed = command("record", *options, *models)
    assert printed.code == 2
    lines = printed.out.splitlines()
    assert lines[:4] == [
        "recorded  ckpt_snapshots/tinynet.Net(width=4)@1.0.json: 2 tensors, as tinynet==1.0 has it",
        "recorded  ckpt_snapshots/mine.small@tinynet-1.0.json: 2 tensors, as tinynet==1.0 has it",
        "recorded  ckpt_snapshots/tinynet.Net(width=4)@1.1.json: 2 tensors, as tinynet==1.1 has it",
        "recorded  ckpt_snapshots/mine.small@tinynet-1.1.json: 2 tensors, as tinynet==1.1 has it",
    ]
    assert lines[4].startswith("failed    tinynet.Net(width=4): cannot be built as tinynet==1.2 has it: ")
    assert lines[4].endswith("; it needs nothing_of_this_name, which is not installed here")
    assert lines[6].startswith(
        "failed    --package tinynet==9: pip cannot install it: Could not find a version"
    )
    checked = command("check")
    assert "CK103 tinynet.Net(width=4)@1.0: 2 tensors possibly renamed" in checked.out
    assert "OK mine.small@tinynet-1.1: 2 tensors load" in checked.out


@pytest.mark.usefixtures("releases")
def test_constraints_of_the_user_hold(
    past: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("tinynet==1.1\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    printed = command("record", "--package", "tinynet==1.0", "--model", "tinynet:Net")
    assert printed.code == 2
    assert printed.out.startswith("failed    --package tinynet==1.0: pip cannot install it: ")
    assert len(printed.out.splitlines()) == 1


@pytest.mark.usefixtures("releases")
def test_a_definition_that_has_nothing_of_the_package(past: Path, command: Command) -> None:
    printed = command("record", "--package", "tinynet==1.0", "--model", "pkg.net:Net")
    assert printed.code == 2
    assert "pkg.net.Net: is not there in tinynet==1.0: it is not in this code" in printed.out
