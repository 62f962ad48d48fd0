"""SARIF and GitLab's Code Quality: valid by their published schemas, stable, and never green by mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.changes import Acceptance, Change, Policy, Severity
from pytest_ckpt_compat._core.rules import BY_ID, RULES, judge
from pytest_ckpt_compat._report import gitlab, sarif, summary
from pytest_ckpt_compat._report.places import Place, Places
from tests.conftest import Filled, Printed
from tests.repository import ENTRY, commit, edit, git, make_branch, make_project
from tests.test_pairs import FOLDERS, side

Command = Callable[..., Printed]

SCHEMAS = Path(__file__).parent / "schemas"
#: As GitLab's documentation of the format has them.
SEVERITIES = {"info", "minor", "major", "critical", "blocker"}


def schema(name: str) -> Any:
    """A validator of a published schema, formats included."""
    data = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(data, default=jsonschema.Draft7Validator)
    return kind(data, format_checker=kind.FORMAT_CHECKER)


def valid_sarif(text: str) -> Any:
    """The one run of a SARIF file that is valid."""
    data = json.loads(text)
    schema("sarif-schema-2.1.0.json").validate(data)
    (run,) = data["runs"]
    rules = run["tool"]["driver"]["rules"]
    for each in run["results"]:
        assert rules[each["ruleIndex"]]["id"] == each["ruleId"]
    return run


def valid_gitlab(text: str) -> Any:
    """The issues of a Code Quality report that is valid."""
    issues = json.loads(text)
    for each in issues:
        schema("codeclimate.json").validate(each)
        assert each["severity"] in SEVERITIES
        assert each["check_name"]
        path = Path(each["location"]["path"])
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert each["location"]["lines"]["begin"] >= 1
    assert len({each["fingerprint"] for each in issues}) == len(issues)
    return issues


def fingerprints(run: Any) -> list[str]:
    return [each["partialFingerprints"]["ckptCompat/v1"] for each in run["results"]]


def of(*verdicts: ckpt.Verdict, label: str = "", **others: Any) -> summary.Run:
    return summary.Run(tuple(map(summary.entry, verdicts)), "compared  1 checkpoint", label, **others)


@pytest.fixture
def declared(pytester: pytest.Pytester, warm_python: str, filled: Filled) -> pytest.Pytester:
    """A project with a checkpoint that loads and one that does not."""

    def fill() -> None:
        other = ENTRY.replace("net-v1", "net-v2") + "kwargs = { classes = 7 }\n"
        make_project(pytester.path, ENTRY + other)
        pytester.runpytest_inprocess("--ckpt-update", "-q")

    filled("one that does not load", fill)
    return pytester


@pytest.mark.parametrize("how", ["pytest", pytest.param("xdist", marks=pytest.mark.long), "check"])
def test_the_files_of_a_run(declared: pytest.Pytester, command: Command, how: str) -> None:
    for name in ("r.sarif", "r.codequality.json"):
        if how == "check":
            assert command("check", "--report", name).code == 1
        elif how == "xdist":
            declared.runpytest_subprocess("--ckpt-report", name, "-n2").assert_outcomes(passed=1, failed=1)
        else:
            declared.runpytest_inprocess("--ckpt-report", name).assert_outcomes(passed=1, failed=1)
    run = valid_sarif((declared.path / "r.sarif").read_text())
    result, bias = run["results"]
    assert bias["message"]["text"].startswith("CK202 net-v2: head.bias   float32[4] -> float32[7]")
    assert (result["ruleId"], result["level"]) == ("CK202", "error")
    assert result["message"]["text"].startswith("CK202 net-v2: head.weight   float32[4, 8] -> float32[7, 8]")
    location = result["locations"][0]["physicalLocation"]
    assert location == {
        "artifactLocation": {"uri": "models.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": line_of(declared.path / "models.py", "self.head =")},
    }
    assert "baselineState" not in result
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    issue, _ = valid_gitlab((declared.path / "r.codequality.json").read_text())
    assert (issue["check_name"], issue["severity"]) == ("CK202", "critical")
    line = line_of(declared.path / "models.py", "self.head =")
    assert issue["location"] == {"path": "models.py", "lines": {"begin": line}}
    assert issue["fingerprint"] == fingerprints(run)[0]


def line_of(file: Path, code: str) -> int:
    """The line of a file that has some code."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if code in line)


def test_every_rule_is_described() -> None:
    driver = valid_sarif(sarif.render(of()))["tool"]["driver"]
    assert [each["id"] for each in driver["rules"]] == sorted(BY_ID)
    for each in driver["rules"]:
        assert each["help"]["text"]
        assert each["help"]["markdown"]
        assert each["shortDescription"]["text"]
        assert each["defaultConfiguration"]["level"] in ("error", "warning")


def test_a_rule_links_to_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarif, "documentation", lambda: "https://docs.example.org/")
    monkeypatch.setattr(sarif, "rule_url", lambda rule: f"https://docs.example.org/rules.html#{rule.lower()}")
    driver = valid_sarif(sarif.render(of()))["tool"]["driver"]
    assert driver["informationUri"] == "https://docs.example.org/"
    assert driver["rules"][0]["helpUri"] == "https://docs.example.org/rules.html#ck101"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_pair_is_valid_and_has_a_finding_for_each_row(folder: Path) -> None:
    from pytest_ckpt_compat._report.rows import rows

    verdict = replace(ckpt.diff(side(folder, "old.json"), side(folder, "new.json")), name="net")
    run = valid_sarif(sarif.render(of(verdict)))
    assert len(run["results"]) == len(rows(verdict))
    assert len(set(fingerprints(run))) == len(run["results"])
    assert [each["fingerprint"] for each in valid_gitlab(gitlab.render(of(verdict)))] == fingerprints(run)
    covered = [change for row in rows(verdict) for change in row.changes]
    assert {id(each) for each in covered} == {id(each) for each in verdict.changes}


def test_a_fingerprint_is_that_of_the_break(declared: pytest.Pytester, command: Command) -> None:
    """It outlives a moved line and a second break; another break has another."""

    def found() -> dict[str, str]:
        command("check", "--report", "r.sarif")
        run = valid_sarif((declared.path / "r.sarif").read_text())
        texts = (each["message"]["text"].partition("   ")[0] for each in run["results"])
        return dict(zip(texts, fingerprints(run), strict=True))

    first = found()
    assert first == found()
    edit(declared.path / "models.py", "class Net", "\n\n\nclass Net")
    assert first == found()
    edit(declared.path / "models.py", 'body="body"', 'body="trunk"')
    second = found()
    assert first.items() <= second.items()
    assert len(second) > len(first)
    edit(declared.path / "pyproject.toml", "classes = 7", "classes = 9")
    third = found()
    assert {text for text in second if third[text] != second[text]} == first.keys()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("KeyError: 'a' (models/net.py:41)", "KeyError: 'a' (models/net.py:63)", True),
        ("KeyError: 'a' (models/net.py:41)", "KeyError: 'b' (models/net.py:41)", False),
        ("it is not TOML at line 3, column 9", "it is not TOML at line 4, column 1", True),
        ("the output differs by 0.44", "the output differs by 0.43", True),
        ("{cwd}/models.py cannot be read", "models.py cannot be read", True),
        ("models.py was imported from /home/a b/x.py", "models.py was imported from /srv/b/x.py", False),
        ("models.py was imported from /home/a/x.py", "models.py was imported from /srv/b/c/x.py", True),
        (r"models.py was imported from C:\a\x.py", "models.py was imported from /srv/b/c/x.py", True),
        ("https://host/a/x.pt cannot be reached", "https://host/b/x.pt cannot be reached", False),
        ("<Net at 0x7f21ab> has no q", "<Net at 0x7e00cd> has no q", True),
        ("main (merge base 1a2b3c4d): raised", "main (merge base 99887766): raised", True),
    ],
)
def test_a_fingerprint_of_words_leaves_out_what_passes(one: str, other: str, same: bool) -> None:
    def digest(detail: str) -> str:
        changes = judge([Change("load-raises", detail=detail.replace("{cwd}", str(Path.cwd())))], Policy())
        return fingerprints(valid_sarif(sarif.render(of(ckpt.Verdict(changes, name="v1")))))[0]

    assert (digest(one) == digest(other)) is same


def test_one_break_of_two_checkpoints_is_two_findings() -> None:
    changes = judge([Change("load-raises", detail="KeyError: 'a'")], Policy())
    run = valid_sarif(sarif.render(of(*(ckpt.Verdict(changes, name=name) for name in ("v1", "v2")))))
    assert len(set(fingerprints(run))) == 2


def test_an_accepted_break_is_suppressed_with_its_reason() -> None:
    policy = Policy(accepted=(Acceptance("CK401", "*", "the file is of another project"),))
    changes = judge([Change("load-raises", detail="KeyError: 'a'")], policy)
    marked = replace(changes[0], reason="xfail: known")
    run = valid_sarif(sarif.render(of(ckpt.Verdict(changes, name="v1"), ckpt.Verdict((marked,), name="v2"))))
    first, second = run["results"]
    assert first["level"] == "error"
    assert first["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "the file is of another project"}
    ]
    assert second["suppressions"][0]["kind"] == "inSource"
    (issue, _) = valid_gitlab(
        gitlab.render(of(ckpt.Verdict(changes, name="v1"), ckpt.Verdict((marked,), name="v2")))
    )
    assert issue["severity"] == "info"
    assert issue["description"].endswith("accepted: the file is of another project")


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_comparison_tells_what_is_new(pytester: pytest.Pytester, filled: Filled, command: Command) -> None:
    filled("branch", lambda: make_branch(pytester))
    models = pytester.path / "models.py"
    git(pytester.path, "switch", "-q", "main")
    edit(models, "classes=4", "classes=5")
    commit(pytester.path)
    git(pytester.path, "switch", "-q", "-C", "work")
    edit(models, 'body="body"', 'body="trunk"')
    assert command("check", "--against", "main", "--report", "r.sarif").code == 1
    run = valid_sarif((pytester.path / "r.sarif").read_text())
    own = [each for each in run["results"] if each["locations"][0]["logicalLocations"][0]["name"] == "net-v1"]
    states = {each["ruleId"]: each["baselineState"] for each in own}
    assert states == {"CK103": "new", "CK202": "unchanged"}
    assert run["properties"]["against"].startswith("main (merge base ")
    command("check", "--against", "main", "--report", "r.codequality.json")
    issues = valid_gitlab((pytester.path / "r.codequality.json").read_text())
    assert {each["check_name"]: each["severity"] for each in issues} == {
        "CK103": "critical",
        "CK202": "major",
    }


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (
            of(ckpt.Verdict(judge([Change("unreadable", detail="v1.pt: is cut off")], Policy()), name="v1")),
            "CK905 v1: v1.pt: is cut off",
        ),
        (
            summary.Run((summary.unchecked("v1", "unknown", "the run ended"),), "compared"),
            "not checked v1: the run ended",
        ),
        (
            summary.Run((summary.unchecked("v1", "skipped", "no GPU"),), "could not check: nothing"),
            "skipped v1: no GPU",
        ),
        (summary.Run((), "could not check: no checkpoint was compared"), "no checkpoint was compared"),
        (of(ckpt.Verdict(name="v1"), failures=("failed    accepted.toml: is not TOML",)), "is not TOML"),
    ],
    ids=["unreadable", "ended", "skipped", "nothing", "a file of the project"],
)
def test_nothing_unknown_reads_as_a_pass(run: summary.Run, told: str) -> None:
    from pytest_ckpt_compat._report.publish import as_json

    found = valid_sarif(sarif.render(run))
    (invocation,) = found["invocations"]
    assert invocation["executionSuccessful"] is False
    assert told in invocation["toolExecutionNotifications"][0]["message"]["text"]
    issues = valid_gitlab(gitlab.render(run))
    assert told in issues[0]["description"]
    assert json.loads(as_json(run))["compatible"] is False


def test_names_from_files_are_text() -> None:
    changes = judge([Change("missing", new=("a[x](http://evil).{0}\x1b\n",))], Policy())
    text = valid_sarif(sarif.render(of(ckpt.Verdict(changes, name="v[1](2)"))))["results"][0]["message"][
        "text"
    ]
    assert "\\[x\\](http://evil).{{0}}" in text
    assert "\x1b" not in text


def test_places_are_below_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    project = tmp_path / "sub folder"
    project.mkdir()
    places = Places(project)
    assert places.of("models/net.py:88") == Place("sub folder/models/net.py", 88)
    assert places.of("../other.py:3") == Place("other.py", 3)
    assert places.of("/elsewhere/site-packages/net.py:3") is None
    (project / "pyproject.toml").write_text("")
    assert places.of("") is None
    assert Places(project).of("/elsewhere/net.py:3") == Place("sub folder/pyproject.toml", 1)


def test_a_cast_to_a_wider_dtype_is_only_a_note() -> None:
    old, new = ckpt.TensorSpec("bfloat16", (2,)), ckpt.TensorSpec("float32", (2,))
    structures = [ckpt.Structure({"a": each}) for each in (old, new)]
    run = of(replace(ckpt.diff(*structures), name="v1"))
    assert [each["level"] for each in valid_sarif(sarif.render(run))["results"]] == ["note"]
    assert [each["severity"] for each in valid_gitlab(gitlab.render(run))] == ["info"]


def test_rows_that_cannot_be_made_are_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_verdict: ckpt.Verdict) -> None:
        raise IndexError("oops")

    monkeypatch.setattr(summary, "rows", fail)
    changes = judge([Change("missing", new=("a",))], Policy())
    (result,) = valid_sarif(sarif.render(of(ckpt.Verdict(changes, name="v1"))))["results"]
    assert (result["ruleId"], result["level"]) == ("CK908", "error")
    assert "IndexError: oops" in result["message"]["text"]


def test_every_severity_has_a_level() -> None:
    assert {rule.severity for rule in RULES} <= set(Severity)
    for severity in Severity:
        (change,) = judge([Change("missing", new=("a",))], Policy())
        verdict = ckpt.Verdict((replace(change, severity=severity),), name="v1")
        assert valid_sarif(sarif.render(of(verdict)))["results"]
        assert valid_gitlab(gitlab.render(of(verdict)))
