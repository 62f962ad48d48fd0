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
from tests.conftest import SETTINGS
from tests.repository import ENTRY
from tests.test_flows_end_green import Command

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
