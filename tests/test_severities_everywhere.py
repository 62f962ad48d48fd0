"""One rule of another severity: every output of a run says the same of it, and so does the exit code."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_ckpt_compat._report import comment, reading
from tests.conftest import Filled, Printed
from tests.repository import edit, make_branch
from tests.test_collected_reports import valid_gitlab, valid_sarif

NAMES = ("r.json", "r.md", "r.html", "r.sarif", "r.codequality.json")
REASON = "we train in half"


@pytest.fixture
def halved(pytester: pytest.Pytester, filled: Filled, command: Callable[..., Printed]) -> Path:
    """A project whose model's parameters are of another dtype, in which values are rounded (CK203)."""
    filled("branch", lambda: make_branch(pytester))
    edit(pytester.path / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes)\n        self.half()")
    assert command("update").code == 0
    return pytester.path


def said_by(folder: Path) -> dict[str, Any]:
    """What each of the files says of the rule."""
    (entry, *_) = json.loads((folder / "r.json").read_text(encoding="utf-8"))["checkpoints"]
    page = (folder / "r.html").read_text(encoding="utf-8")
    results = [
        each
        for each in valid_sarif((folder / "r.sarif").read_text(encoding="utf-8"))["results"]
        if each["ruleId"] == "CK203"
    ]
    issues = valid_gitlab((folder / "r.codequality.json").read_text(encoding="utf-8"))
    return {
        "state": entry["state"],
        "compatible": entry["compatible"],
        "json": {each["severity"] for each in entry["changes"] if each["rule"] == "CK203"},
        "html": re.findall(r'<span class="badge (\w+)">', page)[0],
        "sarif": {each["level"] for each in results},
        "justified": {
            suppressed["justification"] for each in results for suppressed in each.get("suppressions", ())
        },
        "gitlab": {each["severity"] for each in issues if each["check_name"] == "CK203"},
        "explained": "explain CK203" in (folder / "r.md").read_text(encoding="utf-8"),
    }


@pytest.mark.parametrize(
    ("setting", "code", "expected"),
    [
        (
            None,
            0,
            {
                "state": "warning",
                "compatible": True,
                "json": {"warning"},
                "html": "warning",
                "sarif": {"warning"},
                "justified": set(),
                "gitlab": {"minor"},
                "explained": True,
            },
        ),
        (
            "ignore",
            0,
            {
                "state": "ok",
                "compatible": True,
                "json": {"ignored"},
                "html": "ok",
                "sarif": {"note"},
                "justified": {REASON},
                "gitlab": {"info"},
                "explained": False,
            },
        ),
        (
            "error",
            1,
            {
                "state": "broken",
                "compatible": False,
                "json": {"error"},
                "html": "broken",
                "sarif": {"error"},
                "justified": set(),
                "gitlab": {"critical"},
                "explained": True,
            },
        ),
    ],
)
def test_all_outputs_agree(
    halved: Path,
    pytester: pytest.Pytester,
    command: Callable[..., Printed],
    setting: str | None,
    code: int,
    expected: dict[str, Any],
) -> None:
    if setting:
        path = halved / "pyproject.toml"
        table = f'CK203 = {{ severity = "{setting}", reason = "{REASON}" }}'
        path.write_text(path.read_text() + f"\n[tool.ckpt_compat.severity]\n{table}\n")
    printed = command("check", *(f"--report={name}" for name in NAMES))
    assert printed.code == code
    assert said_by(halved) == expected
    first = {None: "CK203 net-v1: loads, 6 tensors", "ignore": "OK net-v1: ", "error": "breaks: 1"}[setting]
    assert printed.out.startswith(first)
    told = bool(setting)
    assert (f"({'CK203: ' if setting == 'ignore' else ''}{REASON})" in printed.out) is told
    for name in ("r.md", "r.html"):  # the reason is where the verdict is
        assert (REASON in html.unescape((halved / name).read_text(encoding="utf-8"))) is told
    run = reading.read(str(halved / "r.json"))
    text = comment.body(run, "", "")
    assert comment.calls_for_comment(run) is (code == 1)
    assert (comment.AGAIN in text) is (code == 0)
    assert (REASON in text) is told

    result = pytester.runpytest_inprocess("--junit-xml=r.xml", *(f"--ckpt-report={name}" for name in NAMES))
    result.assert_outcomes(passed=1 - code, failed=code)
    assert said_by(halved) == expected
    (case,) = ElementTree.parse(halved / "r.xml").getroot().iter("testcase")
    assert (case.find("failure") is not None) is (code == 1)
    properties = {str(each.get("value")) for each in case.iter("property")}
    (entry, *_) = json.loads((halved / "r.json").read_text(encoding="utf-8"))["checkpoints"]
    assert properties == {entry["headline"]}


@pytest.mark.parametrize("setting", [None, "ignore"])
def test_a_full_report_lists_what_only_warns(
    halved: Path, pytester: pytest.Pytester, command: Callable[..., Printed], setting: str | None
) -> None:
    """It was documented, and -vv printed the headline alone."""
    if setting:
        path = halved / "pyproject.toml"
        path.write_text(path.read_text() + '\n[tool.ckpt_compat.severity]\nCK203 = "ignore"\n')
    row = "head.weight   float32[4, 8] -> float16[4, 8]"
    assert row not in re.sub(" {2,}", "   ", command("check").out)
    printed = command("check", "-vv")
    assert (printed.code, row in re.sub(" {2,}", "   ", printed.out)) == (0, True), printed.out
    assert printed.out.count("net-v1: ") == 1
    result = pytester.runpytest_inprocess("-vv")
    result.assert_outcomes(passed=1)
    assert row in re.sub(" {2,}", "   ", result.stdout.str())
