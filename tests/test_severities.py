"""Severities by rule in the settings: what they may be, what they change, and that reports say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.changes import Acceptance, Change, Policy, RuleSeverity, Severity
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.rules import BY_ID, RULES, judge
from pytest_ckpt_compat._core.severities import WORDS, differences, graded, words_for
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._report import github, gitlab, markdown, sarif, summary
from pytest_ckpt_compat._report.text import headline, render
from tests.conftest import Filled, Printed
from tests.repository import commit, edit, git, make_branch
from tests.test_collected_reports import valid_gitlab, valid_sarif

Command = Callable[..., Printed]

IGNORE = '\n[tool.ckpt_compat.severity]\nCK203 = { severity = "ignore", reason = "we train in half" }\n'
ERROR = '\n[tool.ckpt_compat.severity]\nretyped = "error"\n'
LINE = "6 changes ignored by the project's settings (CK203: we train in half)"


@pytest.fixture
def branch(pytester: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """A branch that left ``main``, where all is recorded."""
    filled("branch", lambda: make_branch(pytester))
    return pytester


def halve(folder: Path) -> None:
    """The model's parameters are of another dtype, in which values are rounded."""
    edit(folder / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes)\n        self.half()")


def set_severity(folder: Path, table: str) -> None:
    path = folder / "pyproject.toml"
    path.write_text(path.read_text() + table)


def read(tmp_path: Path, *lines: str) -> tuple[RuleSeverity, ...]:
    (tmp_path / "ckpt_compat.toml").write_text("\n".join(["[tool.ckpt_compat.severity]", *lines]))
    return project_file.read(tmp_path).severities


def test_a_rule_is_ignored_and_every_report_says_so(branch: pytest.Pytester, command: Command) -> None:
    halve(branch.path)
    assert command("update").code == 0
    assert command("check").out.splitlines()[0] == "CK203 net-v1: loads, 6 tensors of another dtype"
    set_severity(branch.path, IGNORE)
    printed = command("check", "--report", "r.json")
    assert printed.code == 0
    assert printed.out.splitlines()[:2] == ["OK net-v1: 6 tensors load", f"  note: {LINE}"]
    (data, *_) = json.loads((branch.path / "r.json").read_text())["checkpoints"]
    assert (data["state"], data["by_settings"]) == ("ok", [LINE])
    assert {(each["severity"], each["reason"]) for each in data["changes"] if each["rule"] == "CK203"} == {
        ("ignored", "we train in half")
    }
    command("check", "--report", "r.md")
    assert f"- net-v1: {LINE}" in (branch.path / "r.md").read_text()
    command("check", "--report", "r.sarif")
    for result in valid_sarif((branch.path / "r.sarif").read_text())["results"]:
        if result["ruleId"] == "CK203":
            assert result["suppressions"][0]["justification"] == "we train in half"
    command("check", "--report", "r.codequality.json")
    issues = valid_gitlab((branch.path / "r.codequality.json").read_text())
    assert {each["severity"] for each in issues if each["check_name"] == "CK203"} == {"info"}
    result = branch.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["OK net-v1: 6 tensors load", f"net-v1: {LINE}"])


def test_a_rule_is_an_error_and_can_be_accepted(branch: pytest.Pytester, command: Command) -> None:
    halve(branch.path)
    set_severity(branch.path, ERROR)
    printed = command("check")
    assert printed.code == 1
    assert printed.out.startswith("breaks: 1\n\nCK203 net-v1: 6 tensors of another dtype\n")
    assert "  note: CK203 is an error by the project's settings\n" in printed.out
    branch.runpytest_inprocess().assert_outcomes(failed=1)
    accepting = next(line for line in printed.out.splitlines() if line.startswith("  accept:"))
    assert "accept net-v1 --rule CK203" in accepting
    assert command("accept", "net-v1", "--rule", "CK203", "--reason", "trained in half").code == 0
    assert command("check").code == 0


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_branch_that_ignores_a_rule_says_so(branch: pytest.Pytester, command: Command) -> None:
    git(branch.path, "switch", "-q", "main")
    set_severity(branch.path, ERROR)
    commit(branch.path)
    git(branch.path, "switch", "-q", "-C", "work")
    halve(branch.path)
    assert command("check", "--against", "main").code == 1
    edit(branch.path / "pyproject.toml", ERROR, IGNORE)
    line = "this branch changes the severity of CK203: error on main, ignored here (we train in half)"
    printed = command("check", "--against", "main", "--report", "r.json")
    assert line in printed.out.splitlines()
    assert f"  note: {LINE}" in printed.out.splitlines()
    assert json.loads((branch.path / "r.json").read_text())["settings"] == [line]
    branch.runpytest_inprocess("--ckpt-against", "main").stdout.fnmatch_lines([line.replace("[", "[[]")])


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_what_is_an_error_by_the_settings_may_have_been_there_before(
    branch: pytest.Pytester, command: Command
) -> None:
    git(branch.path, "switch", "-q", "main")
    halve(branch.path)
    branch.runpytest_inprocess("--ckpt-update", "-q")
    commit(branch.path)
    git(branch.path, "switch", "-q", "-C", "work")
    set_severity(branch.path, ERROR)
    printed = command("check", "--against", "main")
    assert printed.code == 0
    assert "breaks already on main: 1" in printed.out
    assert "this branch changes the severity of CK203: warning on main, error here" in printed.out


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_settings_of_the_merge_base_that_cannot_be_read(branch: pytest.Pytester, command: Command) -> None:
    git(branch.path, "switch", "-q", "main")
    set_severity(branch.path, '\n[tool.ckpt_compat.severity]\nCK999 = "error"\n')
    commit(branch.path)
    git(branch.path, "switch", "-q", "-C", "work")
    edit(branch.path / "pyproject.toml", '\n[tool.ckpt_compat.severity]\nCK999 = "error"\n', IGNORE)
    printed = command("check", "--against", "main")
    assert (
        "cannot be read (pyproject.toml [tool.ckpt_compat.severity], key CK999 is not a rule)" in printed.out
    )


def test_the_fixture_follows_the_settings(branch: pytest.Pytester) -> None:
    halve(branch.path)
    set_severity(branch.path, ERROR)
    branch.makepyfile(test_it='def test_it(ckpt_compat): ckpt_compat.check("net.pt", model="models:Net")')
    result = branch.runpytest_inprocess("test_it.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CK203 is an error by the project's settings"])


def test_both_forms_are_read(tmp_path: Path) -> None:
    found = read(
        tmp_path, 'CK203 = "ignore"', 'retied = { severity = "error", reason = " it must stay tied " }'
    )
    assert found == (
        RuleSeverity("CK203", Severity.IGNORED),
        RuleSeverity("CK301", Severity.ERROR, "it must stay tied"),
    )
    assert read(tmp_path, 'CK101 = "error"') == (RuleSeverity("CK101", Severity.ERROR),)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            'CK2003 = "ignore"',
            "key CK2003: is not a rule; did you mean CK203 (retyped)? ckpt-compat explain lists the rules",
        ),
        ('CK203 = "info"', "key CK203: is 'info'; it must be error, warning or ignore"),
        ("CK203 = 1", "key CK203: is 1; write CK203 = "),
        ('CK203 = { level = "error" }', "key CK203: has a key 'level'; its keys are severity and reason"),
        ('CK203 = { reason = "x" }', "key CK203.severity: is missing; write CK203 = "),
        (
            'CK203 = { severity = "ignore", reason = " " }',
            "key CK203.reason: says nothing; say why, or leave",
        ),
        ('CK203 = "ignore"\nretyped = "error"', "key retyped: is CK203, which is given twice; keep one"),
        (
            'CK905 = "ignore"',
            "key CK905: is 'ignore'; it tells that something could not be checked, which never reads as "
            "compatible; see ckpt-compat explain CK905",
        ),
        ('CK906 = "error"', "key CK906: is 'error'; it tells that something could not be checked"),
        (
            'CK101 = "ignore"',
            "key CK101: is 'ignore'; it tells that a checkpoint does not load; accept a single break: "
            'ckpt-compat accept ID --rule CK101 --reason "..."',
        ),
        ('CK201 = "warning"', "key CK201: is 'warning'; it tells that a checkpoint does not load"),
        (
            'CK404 = "ignore"',
            "key CK404: is 'ignore'; it tells that a checkpoint would load with wrong values",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, line)
    assert str(raised.value).startswith(f"ckpt_compat.toml [tool.ckpt_compat.severity], {complaint}")
    assert "\n" not in str(raised.value)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ckpt_compat.toml").write_text("[tool.ckpt_compat]\nseverity = 3\n")
    with pytest.raises(UsageError, match=r"option severity: is 3; it must be a table"):
        project_file.read(tmp_path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_no_setting_makes_a_refusal_or_what_is_unknown_compatible(rule: object) -> None:
    """Whatever may be set: a rule that says so fails all the same, strict or not."""
    assert isinstance(rule, type(RULES[0]))
    for word in words_for(rule):
        found = judge([Change(rule.kind, detail="d", new=("a",))], Policy())
        verdict = graded(ckpt.Verdict(found, name="v1"), [RuleSeverity(rule.id, WORDS[word])])
        if rule.severity is Severity.INCOMPLETE or (rule.about == "load" and rule.severity is Severity.ERROR):
            assert not verdict.compatible
    assert not words_for(rule) or rule.severity is not Severity.INCOMPLETE
    assert ("ignore" in words_for(rule)) is (
        rule.id in ["CK203", "CK301", "CK402", "CK405", "CK501", "CK502", "CK902", "CK903", "CK904", "CK907"]
    )


def test_grading_leaves_what_somebody_decided_and_what_torch_refuses() -> None:
    def of(kind: str, **others: object) -> Change:
        (change,) = judge([Change(kind, new=("a",), detail="d")], Policy())  # type: ignore[arg-type]
        return replace(change, **others)  # type: ignore[arg-type]

    every = [RuleSeverity(rule.id, WORDS[word]) for rule in RULES for word in words_for(rule)[-1:]]
    kept = (
        of("retyped", severity=Severity.ACCEPTED, reason="meant"),
        of("retyped", severity=Severity.EXISTING, reason="main"),
        of("missing", severity=Severity.WARNING, reason="level forward"),
        of("unopenable", severity=Severity.ERROR),
    )
    assert graded(ckpt.Verdict(kept), every) == ckpt.Verdict(kept)
    lenient = ckpt.Verdict((of("missing", severity=Severity.WARNING),))
    once = graded(lenient, every)
    assert [each.severity for each in once.changes] == [Severity.ERROR]
    assert graded(once, every) == once


def test_an_ignored_change_is_a_row_of_the_full_report_alone() -> None:
    (first,) = judge([Change("retied", new=("a", "b"), detail="now tied")], Policy())
    verdict = graded(ckpt.Verdict((first,), name="v1"), [RuleSeverity("CK301", Severity.IGNORED, "meant")])
    assert headline(verdict) == "OK v1: nothing to load"
    assert "a = b" not in render(verdict)
    assert "= a = b   now tied   ignored: meant" in render(verdict, full=True)
    run = summary.Run((summary.entry(verdict),), "compared", settings=("this branch changes *it*",))
    assert "\nthis branch changes &#42;it&#42;\n" in markdown.render(run)
    (invocation,) = valid_sarif(sarif.render(run))["invocations"]
    assert invocation["executionSuccessful"]
    assert invocation["toolExecutionNotifications"][0]["level"] == "warning"
    assert "this branch changes *it*" in [each["description"] for each in valid_gitlab(gitlab.render(run))]


def test_an_acceptance_of_an_ignored_change_stays_used() -> None:
    policy = Policy(accepted=(Acceptance("CK301", "*", "meant"),))
    changes = judge([Change("retied", new=("a",), detail="now tied")], policy)
    verdict = graded(ckpt.Verdict(changes), [RuleSeverity("CK301", Severity.IGNORED)])
    assert [each.severity for each in verdict.changes] == [Severity.ACCEPTED]


def test_differences_are_those_of_what_counts() -> None:
    here = [RuleSeverity("CK203", Severity.WARNING), RuleSeverity("CK301", Severity.IGNORED, "why")]
    assert list(differences(here, [], "main")) == [
        "this branch changes the severity of CK301: warning on main, ignored here (why)"
    ]
    assert list(differences([], [RuleSeverity("CK502", Severity.ERROR)], "main")) == [
        "this branch changes the severity of CK502: error on main, warning here"
    ]
    assert BY_ID["CK203"].severity is Severity.WARNING


def test_a_change_of_settings_is_annotated_once() -> None:
    run = summary.Run((), "compared", settings=("this branch changes A", "this branch changes B"))
    assert github.render(run) == [
        "::notice title=checkpoint compatibility::this branch changes A; this branch changes B"
    ]
