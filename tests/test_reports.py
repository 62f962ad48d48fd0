"""Reports: files by suffix, GitHub's annotations and summary, JUnit, one for a run, and the status table."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._report import github, markdown, publish
from pytest_ckpt_compat._report.summary import Entry, Run
from pytest_ckpt_compat._report.text import render
from tests.conftest import Filled, Printed
from tests.repository import ENTRY, edit, make_project

Command = Callable[..., Printed]

TWO = ENTRY + ENTRY.replace("net-v1", "net-v2") + "kwargs = { classes = 7 }\n"


@pytest.fixture
def declared(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, warm_python: str, filled: Filled
) -> pytest.Pytester:
    """A project with a checkpoint that loads and one that does not."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)

    def fill() -> None:
        make_project(pytester.path, TWO)
        pytester.runpytest_inprocess("--ckpt-update", "-q")

    filled("one that does not load", fill)
    return pytester


@pytest.mark.parametrize("how", ["pytest", pytest.param("xdist", marks=pytest.mark.long), "check"])
def test_a_report_file(declared: pytest.Pytester, command: Command, how: str) -> None:
    for name in ("r.json", "r.md", "r.html"):
        if how == "check":
            assert command("check", "--report", name).code == 1
        elif how == "xdist":
            declared.runpytest_subprocess("--ckpt-report", name, "-n2").assert_outcomes(passed=1, failed=1)
        else:
            declared.runpytest_inprocess("--ckpt-report", name).assert_outcomes(passed=1, failed=1)
    data = json.loads((declared.path / "r.json").read_text())
    assert data["compatible"] is False
    assert data["compared"] == "compared  2 checkpoints, 12 tensors"
    found = {each["id"]: each for each in data["checkpoints"]}
    assert {name: each["state"] for name, each in found.items()} == {"net-v1": "ok", "net-v2": "broken"}
    assert found["net-v2"]["counts"] == {"head-resized": 2}
    assert found["net-v2"]["where"] == "models.py:6"
    page = (declared.path / "r.md").read_text()
    assert page.count("## Checkpoint compatibility") == 1
    assert "| ❌ | net-v2 | CK202 net-v2: head resized |" in page
    page = (declared.path / "r.html").read_text(encoding="utf-8")
    assert page.count('<section class="checkpoint"') == 2
    assert '<td role="cell">CK202 net-v2: head resized</td>' in page


def test_a_report_of_another_kind(declared: pytest.Pytester, command: Command) -> None:
    name, complaint = "r.txt", "is of no known kind"
    done = command("check", "--report", name)
    assert done.code == 2
    kinds = " or ".join(publish._SUFFIXES)
    assert done.err == f"ckpt-compat: report {name}: {complaint}; name a file that ends in {kinds}\n"
    result = declared.runpytest_inprocess("--ckpt-report", name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: report {name}: {complaint}; *"])


@pytest.mark.parametrize("how", ["pytest", pytest.param("xdist", marks=pytest.mark.long), "check"])
def test_github_gets_annotations_and_a_summary(
    declared: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    summary = declared.path / "summary.md"
    summary.write_text("earlier steps\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(declared.path.parent))
    if how == "check":
        lines = command("check").out.splitlines()
    elif how == "xdist":
        lines = declared.runpytest_subprocess("-n2").outlines
    else:
        lines = declared.runpytest_inprocess().outlines
    (annotation,) = [line for line in lines if line.startswith("::")]
    before = (declared.path / "models.py").read_text(encoding="utf-8").partition("self.head =")[0]
    place = f"file={declared.path.name}/models.py,line={before.count(chr(10)) + 1}"
    properties = f"{place},title=net-v2 checkpoint compatibility"
    assert annotation.startswith(
        f"::error {properties}::CK202 net-v2: head resized%0A%0A  net.pt -> models.Net"
    )
    page = summary.read_text()
    assert page.startswith("earlier steps\n## Checkpoint compatibility\n")
    assert page.count("## ") == 1


def test_a_summary_that_cannot_be_written_fails_nothing(declared: pytest.Pytester) -> None:
    run = Run((), "compared")
    (line,) = publish.publish(run, [], {"GITHUB_STEP_SUMMARY": str(declared.path)})
    assert "cannot be written" in line


def test_annotations_are_escaped_and_fewer_than_ten() -> None:
    odd = Entry("a,b:c", "broken", "50%", "50%\n::error::oops\r", "x,y.py:3")
    (line,) = github.render(Run((odd,), ""))
    assert line == (
        "::error file=x%2Cy.py,line=3,title=a%2Cb%3Ac checkpoint compatibility::50%25%0A::error::oops%0D"
    )
    many = tuple(Entry(f"n{n}", "broken", "head", "text", "m.py:1") for n in range(30))
    lines = github.render(Run(many, ""))
    assert len(lines) == 9
    assert lines[-1].startswith("::error title=checkpoint compatibility::22 more: n8, n9")
    assert len(github.render(Run(many[:9], ""))) == 9
    outside = Entry("n", "warning", "head", "text", "/elsewhere/m.py:1")
    assert "file=" not in github.render(Run((outside,), ""), "/workspace")[0]
    assert github.render(Run((Entry("n", "ok", "h", "t"),), "")) == []


def test_github_gets_one_annotation_for_a_cause() -> None:
    def broken(name: str, key: str) -> Entry:
        change = {"rule": "CK101", "kind": "missing", "severity": "error", "old": [], "new": [key]}
        text = f"CK101 {name}: 1 missing\n\n  + {key}\n  accept: ckpt-compat accept {name} --rule CK101"
        data = {"changes": [change], "old": {"source": f"{name}.pt"}, "notes": []}
        return Entry(name, "broken", text.partition("\n")[0], text, "m.py:1", data)

    run = Run(
        tuple(broken(f"run-{number}", "one" if number % 2 else "two") for number in range(300)), "compared"
    )
    even, odd = github.render(run, "")
    assert even.startswith(
        "::error file=m.py,line=1,title=run-0 and 149 more checkpoint compatibility::"
        "CK101 run-0 and 149 more: 1 missing%0A%0A  + two%0A  accept: ckpt-compat accept run-0 run-2 run-4 "
    )
    assert odd.startswith("::error file=m.py,line=1,title=run-1 and 149 more checkpoint compatibility::")
    many = Run(tuple(broken(f"run-{number}", f"key{number // 2}") for number in range(30)), "compared")
    *shown, last = github.render(many, "")
    assert len(shown) == 8
    assert last.startswith("::error title=checkpoint compatibility::14 more: run-16, run-17,")


def test_markdown_leaves_names_alone_and_stays_below_its_limit() -> None:
    odd = Entry("<b>|`x`_*@all#1", "broken", "h\n| a |", "```\ntext", "")
    page = markdown.render(Run((odd,), "compared"))
    row = next(line for line in page.splitlines() if line.startswith("| ❌"))
    name = "&#60;b&#62;&#124;&#96;x&#96;&#95;&#42;&#64;<!-- -->all&#35;<!-- -->1"
    assert row == f"| ❌ | {name} | h&#92;x0a&#124; a &#124; |"
    assert f"<details><summary>{name}</summary>" in page
    assert "\nwith &#60;i&#62; &#42;x&#42;\n" in markdown.render(Run((odd,), "with <i> *x*"))
    assert "\n````\n```\ntext\n````\n" in page
    many = tuple(Entry(f"n{n}", "broken", "head", "x" * 500, "") for n in range(100))
    page = markdown.render(Run(many, "compared"), limit=20_000)
    assert len(page.encode()) <= 20_000
    assert "more reports do not fit here" in page
    assert len(markdown.render(Run(many, "compared"), limit=1_000).encode()) <= 1_000


@pytest.mark.long
@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_junit(declared: pytest.Pytester, workers: str) -> None:
    declared.runpytest_subprocess("--junit-xml=junit.xml", workers)
    cases = {
        case.get("name"): case for case in ElementTree.parse(declared.path / "junit.xml").iter("testcase")
    }
    failure = cases["net-v2"].find("failure")
    assert failure is not None
    assert failure.get("message") == "Failed: CK202 net-v2: head resized"
    assert "! head.weight" in str(failure.text)
    values = {p.get("name"): p.get("value") for p in cases["net-v2"].iter("property")}
    assert values == {"ckpt_compat.net-v2": "CK202 net-v2: head resized"}
    values = {p.get("name"): p.get("value") for p in cases["net-v1"].iter("property")}
    assert values == {"ckpt_compat.net-v1": "OK net-v1: 6 tensors load"}


def test_status(declared: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v2", "--rule", "CK202", "--key", "head.bias", "--reason", "why not")
    (declared.path / "net.pt").rename(declared.path / "moved.pt")
    assert [line.split(None, 5) for line in command("status").out.splitlines()] == [
        ["checkpoint", "file", "snapshot", "loads", "accepted", "verdict"],
        ["net-v1", "absent", "yes", "yes", "0", "OK net-v1: 6 tensors load"],
        ["net-v2", "absent", "yes", "no", "1", "CK202 net-v2: head resized"],
    ]
    (declared.path / "moved.pt").rename(declared.path / "net.pt")
    (declared.path / "ckpt_snapshots" / "net-v1.json").unlink()
    done = command("status")
    assert done.code == 0
    assert done.out.splitlines()[1].split(None, 5)[:5] == ["net-v1", "yes", "none", "yes", "0"]


def test_the_class_is_found_from_the_workspace(tmp_path: Path) -> None:
    entry = Entry("n", "broken", "head", "text", str(tmp_path / "a" / "m.py") + ":7")
    (line,) = github.render(Run((entry,), ""), str(tmp_path))
    assert line.startswith("::error file=a/m.py,line=7,")


def test_a_glob_that_matches_nothing_costs_no_other_checkpoint(
    declared: pytest.Pytester, command: Command
) -> None:
    edit(declared.path / "pyproject.toml", 'path = "net.pt"', 'path = "nowhere/*.pt"')
    done = command("status")
    assert done.code == 0
    assert "nowhere/*.pt matches no file" in done.out
    assert "net-v1" in done.out
    assert command("check").code in (1, 2)


def test_a_headline_stands_alone_whatever_a_load_raises() -> None:
    """A loader may raise a list of all its keys; ``-vv`` has the whole of it."""
    detail = f"load mine raised KeyError: {', '.join(f'blocks.{number}.weight' for number in range(500))}"
    change = Change("load-raises", detail=detail, rule="CK401", severity=Severity.ERROR)
    verdict = Verdict((change,), name="net-v1")
    short, whole = render(verdict), render(verdict, full=True)
    assert short.startswith("CK401 net-v1: load mine raised KeyError: blocks.0.weight, ")
    assert len(short.splitlines()[0]) < 500
    assert "blocks.250.weight" not in short
    assert short.splitlines()[0].endswith(" (-vv prints all)")
    assert f"! {detail}" in whole
