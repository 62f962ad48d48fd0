"""Headlines and labels: each reason beside what it was given for, and arguments where they tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_ckpt_compat import Change, Structure, TensorSpec
from pytest_ckpt_compat._check.acceptance import no_longer_occurs
from pytest_ckpt_compat._core.changes import Policy, Severity
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report.text import headline
from pytest_ckpt_compat._snapshots.accepted import Entry
from tests.conftest import SETTINGS, save
from tests.repository import ENTRY, commit, edit, git, make_project
from tests.test_flows_end_green import Command
from tests.test_review import Answer, answer

__all__ = ["answer"]

GATE = """

def gate(state_dict):
    return {**state_dict, "gate.weight": torch.zeros(2, 2), "gate.bias": torch.zeros(2)}
"""
TWO_OF_FIVE = ENTRY.replace("net-v1", "net-v2").replace("net.pt", "two.pt") + "kwargs = { classes = 5 }\n"

BEFORE, AFTER = TensorSpec("float32", (4, 8)), TensorSpec("float32", (6, 8))


def accepted(head: str, gone: str) -> Verdict:
    """A head of another size and a key without a place, each accepted for a reason."""
    found = (
        Change("unexpected", old=("aux",), old_specs=(BEFORE,)),
        Change("head-resized", ("head",), ("head",), (BEFORE,), (AFTER,)),
    )
    reasons = {"unexpected": gone, "head-resized": head}
    judged = judge(found, Policy())
    changes = [replace(each, severity=Severity.ACCEPTED, reason=reasons[each.kind]) for each in judged]
    old = Structure({"aux": BEFORE, "head": BEFORE})
    return Verdict(tuple(changes), name="v1", old=old, new=Structure({"head": AFTER}))


def test_each_reason_stands_beside_what_it_was_given_for() -> None:
    """Of two reasons, the first was printed behind all."""
    line = headline(accepted("six classes", "no auxiliary loss"))
    assert line == (
        "CK202 v1: accepted, head resized (six classes), 1 of 2 tensors unexpected (no auxiliary loss)"
    )


def test_one_reason_stands_behind_all() -> None:
    line = headline(accepted("version 2", "version 2"))
    assert line == "CK202 v1: accepted, head resized, 1 of 2 tensors unexpected (version 2)"


def test_a_reason_is_printed_whole() -> None:
    """A headline ended at its last semicolon."""
    entry = Entry("v1", "CK202", "head.*", "six classes;\nthe head starts anew", changes=("a -> b",))
    found = judge([Change("unused-acceptance", detail=no_longer_occurs(entry))], Policy())
    line = headline(Verdict(tuple(found), name="v1"))
    assert "(six classes; the head starts anew) no longer occurs (ckpt-compat update takes it out)" in line


def test_a_definition_without_a_snapshot_is_named_with_its_arguments(
    project: pytest.Pytester, command: Command
) -> None:
    """It said that no snapshot of models.Net has been recorded, and there was one."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    assert command("update").code == 0
    path: Path = project.path / "pyproject.toml"
    path.write_text(path.read_text().rstrip() + "\nkwargs = { classes = 4 }\n")
    printed = command("check")
    assert "no snapshot of models.Net(classes=4) (models.py:5) has been recorded" in printed.out


def test_the_code_in_a_review_names_the_command_to_go_on_with(
    project: pytest.Pytester, command: Command, answer: Answer
) -> None:
    """It offered neither a style nor a choice, and named no command that does."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    assert command("update").code == 0
    edit(project.path / "models.py", 'body="body"', 'body="trunk"')
    shown = answer("m", "q")[1]
    told = "in another style, or with your choices: ckpt-compat migrate net-v1 --style STYLE --choose OLD=NEW"
    assert told in shown


def test_a_definition_recorded_over_is_advised_as_everywhere(
    project: pytest.Pytester, command: Command
) -> None:
    """It said pytest --ckpt-update here, and ckpt-compat update elsewhere."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    assert command("update").code == 0
    gated = "nn.Linear(8, classes)\n        self.gate = nn.Linear(2, 2)"
    edit(project.path / "models.py", "nn.Linear(8, classes)", gated)
    edit(project.path / "models.py", "classes=4", "classes=5")
    save(project.path / "net.pt", 5)
    migrated = 'model = "models:Net"\nmigrate = "models:gate"'
    edit(project.path / "pyproject.toml", 'model = "models:Net"', migrated)
    with (project.path / "models.py").open("a") as stream:
        stream.write(GATE)
    printed = command("check")
    assert "  record: ckpt-compat update, if nothing was trained with it" in printed.out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_definition_that_went_with_its_checkpoint_names_what_covers_it(
    pytester: pytest.Pytester, command: Command
) -> None:
    """It was told as gone without a command; retiring the checkpoint takes it along."""
    folder = make_project(pytester.path, ENTRY + TWO_OF_FIVE)
    save(folder / "two.pt", 5)
    assert command("update").code == 0
    commit(folder)
    git(folder, "switch", "-q", "-c", "work")
    edit(folder / "pyproject.toml", TWO_OF_FIVE, "")
    note = "if it went with a checkpoint that is named here, retiring that covers it, too"
    printed = command("check", "--against", "main")
    assert printed.code == 2
    assert printed.out.count(note) == 1
    assert command("retire", "net-v2", "--reason", "no longer served").code == 0
    printed = command("check", "--against", "main")
    assert (printed.code, note in printed.out) == (0, False)
