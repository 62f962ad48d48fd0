"""Two people update one definition: snapshots merge by lines, and ``update --verify`` sees what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Printed
from tests.repository import commit, edit, git, make_project

Command = Callable[..., Printed]

MODELS = """
import torch
from torch import nn

WIDTH = 4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 8)
        self.norm = nn.LayerNorm(8)
        self.body = nn.Sequential(
            nn.Linear(8, 8),
            nn.ReLU(),
            nn.Linear(8, 8),
        )
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.drop(self.body(self.norm(self.stem(x)))))


def inputs():
    return torch.ones(2, 3)
"""
ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
strict = false
"""
DEFINITION = "ckpt_snapshots/definitions/models.Net.json"

pytestmark = pytest.mark.long


@pytest.fixture
def start(pytester: pytest.Pytester, command: Command) -> Callable[..., Path]:
    """Makes a project with a recorded definition on main."""

    def make(entry: str = ENTRY) -> Path:
        folder = make_project(pytester.path, entry)
        (folder / "models.py").write_text(MODELS)
        scope: dict[str, Any] = {"__name__": "models"}
        exec(MODELS, scope)
        torch.save(scope["Net"]().state_dict(), folder / "net.pt")
        assert command("update").code == 0
        commit(folder, "first")
        return folder

    return make


def newer(folder: Path, seconds: int) -> None:
    """Makes the model newer than what Python compiled from it on another branch."""
    path = folder / "models.py"
    later = path.stat().st_mtime + seconds
    os.utime(path, (later, later))


@pytest.fixture
def both(command: Command) -> Callable[..., int]:
    """Two branches change the model, and each records its own; returns how many files conflict in a merge."""

    def merge(folder: Path, ours: tuple[str, str], theirs: tuple[str, str], *others: tuple[str, str]) -> int:
        for name, changes in {"ours": (ours,), "theirs": (theirs, *others)}.items():
            git(folder, "switch", "-q", "-c", name, "main")
            for old, new in changes:
                edit(folder / "models.py", old, new)
            newer(folder, 10 * len(name))
            command("update")
            commit(folder, name)
        git(folder, "switch", "-q", "ours")
        done = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "merge", "-q", "theirs"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        conflicting = git(folder, "diff", "--name-only", "--diff-filter=U").splitlines()
        assert bool(done.returncode) == bool(conflicting), done.stderr
        newer(folder, 100)
        return len(conflicting)

    return merge


STEM = ("self.stem = nn.Linear(3, 8)", "self.stem = nn.Linear(3, 8, bias=False)")
HEAD = ("self.head = nn.Linear(8, 4)", "self.head = nn.Linear(8, 5)")
GATE = ("self.drop =", "self.gate = nn.Linear(8, 8)\n        self.drop =")
DROP = ("nn.Dropout(0.1)", "nn.Dropout(0.2)")
#: Layers on both sides of the last one, between which only its own line stays.
BEFORE_HEAD = ("self.head =", "self.gate = nn.Linear(8, 8)\n        self.head =")
AFTER_HEAD = (HEAD[0], f"{HEAD[0]}\n        self.tail = nn.Linear(4, 4)")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (STEM, HEAD),
        (HEAD, STEM),
        (STEM, GATE),
        (STEM, DROP),
        (DROP, STEM),
        (BEFORE_HEAD, AFTER_HEAD),
        (AFTER_HEAD, BEFORE_HEAD),
    ],
)
def test_changes_of_different_layers_merge(
    start: Callable[..., Path],
    both: Callable[..., int],
    command: Command,
    ours: tuple[str, str],
    theirs: tuple[str, str],
) -> None:
    folder = start()
    assert both(folder, ours, theirs) == 0
    merged = (folder / DEFINITION).read_text()
    printed = command("update", "--verify")
    assert (printed.code, printed.out) == (0, "2 snapshots as an update would write them\n")
    (folder / DEFINITION).unlink()
    command("update")
    assert (folder / DEFINITION).read_text() == merged


def test_changes_of_one_tensor_are_a_conflict_of_its_lines(
    start: Callable[..., Path], both: Callable[..., int], command: Command
) -> None:
    folder = start()
    assert both(folder, HEAD, ("self.head = nn.Linear(8, 4)", "self.head = nn.Linear(8, 6)")) == 2
    text = (folder / DEFINITION).read_text()
    ours, theirs = text.split("<<<<<<<")[1].split(">>>>>>>")[0].split("=======")
    assert [line.strip() for line in ours.splitlines()[1:]] == [
        '"head.weight": "float32[5, 8]",',
        '"head.bias": "float32[5]"',
    ]
    assert [line.strip() for line in theirs.splitlines()[1:]] == [
        '"head.weight": "float32[6, 8]",',
        '"head.bias": "float32[6]"',
    ]
    git(folder, "checkout", "--ours", "models.py")
    printed = command("update", "--verify")
    assert printed.code == 1
    assert [line for line in printed.out.splitlines() if DEFINITION in line] == [
        f"unusable  {folder}/{DEFINITION}: has conflict markers (line "
        f"{text[: text.index('<<<<<<<')].count(chr(10)) + 1}); merge it: keep one side, or record it again: "
        "ckpt-compat update"
    ]
    command("update")
    assert command("update", "--verify").code == 0


def test_a_merge_without_conflict_that_says_what_no_code_says(
    start: Callable[..., Path], both: Callable[..., int], command: Command
) -> None:
    """One branch makes the widths follow a constant, the other changes the constant: no line is the same."""
    folder = start()
    constant = ("self.head = nn.Linear(8, 4)", "self.head = nn.Linear(8, WIDTH)")
    unused = ("WIDTH = 4", "WIDTH = 6")
    assert both(folder, constant, unused) == 0
    before = (folder / DEFINITION).read_text()
    printed = command("update", "--verify")
    assert (printed.code, printed.out) == (
        1,
        f"differs   {DEFINITION}: keys: 2 changed; record it with ckpt-compat update\n",
    )
    assert (folder / DEFINITION).read_text() == before
    command("update")
    assert command("update", "--verify").code == 0


def test_what_both_compute_differently_is_a_conflict_in_the_outputs_alone(
    start: Callable[..., Path], both: Callable[..., int], command: Command
) -> None:
    """The tensors and the settings merge; only a run says what the two changes compute together."""
    folder = start(ENTRY + 'inputs = "models:inputs"\n')
    relu = ("nn.ReLU()", "nn.GELU()")
    scaled = ("return self.head(", "return 2 * self.head(")
    assert both(folder, relu, scaled) == 1
    text = (folder / DEFINITION).read_text()
    assert text.index("<<<<<<<") > text.index('"outputs"')
    assert '"body.1": "torch.nn.GELU(approximate=\'none\')"' in text
    command("update")
    assert command("update", "--verify").code == 0


# A plain folder, without branches --------------------------------------------------------------------


def test_a_definition_has_no_digest_and_a_checkpoint_has_one(start: Callable[..., Path]) -> None:
    folder = start()
    assert "digest" not in json.loads((folder / DEFINITION).read_text())
    assert "digest" in json.loads((folder / "ckpt_snapshots" / "net-v1.json").read_text())


def test_an_earlier_snapshot_with_a_digest_stays_as_it_is(
    start: Callable[..., Path], command: Command
) -> None:
    folder = start()
    path = folder / DEFINITION
    structure = fingerprint.loads(path.read_text(), "net.json")
    path.write_text(fingerprint.dumps(structure))
    before = path.read_bytes()
    assert b'"digest"' in before
    assert command("update", "--verify").code == 0
    assert command("update").out == "every snapshot is up to date\n"
    assert path.read_bytes() == before
    edit(path, "float32[4, 8]", "float32[5, 8]")
    printed = command("update", "--verify")
    assert printed.code == 1
    assert "was changed by hand: its digest does not match" in printed.out


def test_a_definition_edited_by_hand_is_noticed(start: Callable[..., Path], command: Command) -> None:
    """Its lines contradict each other and the code."""
    folder = start()
    edit(folder / DEFINITION, '"head.weight": "float32[4, 8]"', '"head.weight": "float32[4, 9]"')
    printed = command("check")
    assert printed.code == 1
    assert "head.weight" in printed.out
    printed = command("update", "--verify")
    assert printed.code == 1
    assert printed.out.startswith(f"differs   {DEFINITION}: keys: 1 changed")


def test_a_name_replaced_in_every_file_is_refused(start: Callable[..., Path], command: Command) -> None:
    """As a search and replace over the project does: the checkpoint's snapshot is a whole, with a digest."""
    folder = start()
    (folder / "net.pt").unlink()
    for path in (folder / "models.py", folder / DEFINITION, folder / "ckpt_snapshots" / "net-v1.json"):
        edit(path, "stem", "root")
    printed = command("check")
    assert printed.code == 2
    assert "was changed by hand: its digest does not match" in printed.out


@pytest.mark.parametrize(
    ("aliases", "complaint"),
    [
        ([["a", "c"]], '"aliases" names \'c\', which is not in "tensors"'),
        ([["a", "b"]], "\"aliases\" ties 'a' to 'b', which has another shape"),
    ],
)
def test_lines_that_contradict_each_other_are_refused(aliases: list[list[str]], complaint: str) -> None:
    text = json.dumps({"tensors": {"a": "float32[2]", "b": "float32[3]"}, "aliases": aliases})
    with pytest.raises(SnapshotError) as error:
        fingerprint.loads(text, "net.json")
    assert complaint in str(error.value)


def test_one_line_for_each_snapshot_that_is_not_right(start: Callable[..., Path], command: Command) -> None:
    folder = start(ENTRY + ENTRY.replace("net-v1", "net-v2") + ENTRY.replace("net-v1", "net-v3"))
    snapshots = folder / "ckpt_snapshots"
    (snapshots / "net-v1.json").unlink()
    (snapshots / "net-v2.json").write_text(
        fingerprint.dumps(Structure({"x": TensorSpec.parse("float32[2]")}))
    )
    (snapshots / "gone.json").write_text((snapshots / "net-v3.json").read_text())
    edit(folder / "models.py", *HEAD)
    before = {path: path.read_bytes() for path in snapshots.rglob("*") if path.is_file()}
    printed = command("update", "--verify")
    assert printed.code == 1
    assert printed.out.splitlines() == [
        f"differs   {DEFINITION}: keys: 2 changed; record it with ckpt-compat update",
        "unused    ckpt_snapshots/gone.json: no test uses it; remove it with ckpt-compat retire gone "
        '--reason "...", or by pytest --ckpt-prune if no commit that you compare with has it',
        "missing   ckpt_snapshots/net-v1.json: record it with ckpt-compat update",
        "stale     net.pt differs from its snapshot ckpt_snapshots/net-v2.json (keys: 10 added, 1 removed); "
        "if the file was replaced on purpose: ckpt-compat update net-v2",
    ]
    assert {path: path.read_bytes() for path in snapshots.rglob("*") if path.is_file()} == before


def test_a_load_that_breaks_is_not_a_snapshot_that_is_wrong(
    start: Callable[..., Path], command: Command
) -> None:
    folder = start()
    edit(folder / "models.py", *HEAD)
    command("update")
    assert command("check").code == 1
    assert command("update", "--verify").code == 0


def test_an_update_beside_a_change_that_has_no_more_to_say(
    start: Callable[..., Path], command: Command
) -> None:
    """A missing key, which the checkpoint's registration allows."""
    folder = start()
    edit(folder / "models.py", *GATE)
    printed = command("update")
    assert (printed.code, "failed" in printed.out) == (0, False), printed.out


def test_what_cannot_be_compared_is_told(start: Callable[..., Path], command: Command) -> None:
    folder = start()
    (folder / "net.pt").unlink()
    printed = command("update", "--verify")
    assert (printed.code, printed.out.splitlines()) == (
        0,
        [
            "skipped   ckpt_snapshots/net-v1.json: net.pt is not there to compare",
            "1 snapshot as an update would write it",
        ],
    )
    edit(folder / "models.py", "super().__init__()", "super().__init__(1, 2)")
    printed = command("update", "--verify")
    assert printed.code == 2
    assert "as an update would write" not in printed.out


def test_no_id_is_verified_alone(start: Callable[..., Path], command: Command) -> None:
    start()
    printed = command("update", "--verify", "net-v1")
    assert printed.code == 2
    assert "--verify: looks at every snapshot; leave net-v1 out" in printed.err
    printed = command("update", "--verify", "--against", "main")
    assert printed.code == 2
    assert "--verify: writes nothing; leave --against out" in printed.err
