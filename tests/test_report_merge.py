"""The reports of a run's shards make the report of the whole run, or are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_ckpt_compat._report import of_run
from pytest_ckpt_compat._report.summary import Entry
from tests.conftest import Filled, Printed
from tests.counting import calls
from tests.repository import ENTRY, make_project

Command = Callable[..., Printed]

ONE, TWO, THREE = ENTRY, ENTRY.replace("net-v1", "net-v2"), ENTRY.replace("net-v1", "net-v3")


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, filled: Filled, warm_python: str
) -> Path:
    """Three checkpoints, of which the second does not load, and a report of each."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)

    def fill() -> None:
        make_project(pytester.path, ONE + TWO + "kwargs = { classes = 7 }\n" + THREE)
        pytester.inline_run("--ckpt-update", "-q")
        for name in ("net-v1", "net-v2", "net-v3", ""):
            pytester.inline_run("-k", name, "--ckpt-report", f"{name or 'whole'}.json", "-q")

    filled("shards", fill)
    return pytester.path


def changed(path: Path, to: str, **fields: Any) -> None:
    """Writes a copy of a report with other fields; those of the first checkpoint under ``checkpoint``."""
    data = json.loads(path.read_text(encoding="utf-8"))
    data["checkpoints"][0] |= fields.pop("checkpoint", {})
    (path.parent / to).write_text(json.dumps(data | fields), encoding="utf-8")


def test_shards_make_the_whole(project: Path, command: Command) -> None:
    checked = command("check", "--report", "checked.json")
    shards = ("net-v1.json", "net-v2.json", "net-v3.json")
    printed = command("report", "merge", *shards, "-o", "all.json")
    assert printed.code == checked.code == 1
    assert printed.out == checked.out.replace("report    checked.json", "report    all.json")
    assert json.loads((project / "all.json").read_text()) == json.loads(
        (project / "checked.json").read_text()
    )
    assert command("report", "merge", "all.json", "-o", "again.json").code == 1
    assert (project / "again.json").read_text() == (project / "all.json").read_text()


def test_every_kind_of_report_is_written(project: Path, command: Command) -> None:
    printed = command("report", "merge", "net-v1.json", "net-v2.json", "-o", "all.md")
    assert printed.out.endswith("compared  2 checkpoints, 12 tensors\nreport    all.md\n")
    page = (project / "all.md").read_text(encoding="utf-8")
    assert "| ❌ | net-v2 | CK202 net-v2: head resized |" in page
    assert "| ✅ | net-v1 |" in page
    printed = command("report", "merge", "net-v1.json", "-o", "one.md", "-o", "one.sarif")
    assert printed.out.endswith("report    one.md\nreport    one.sarif\n")
    assert (project / "one.md").exists()
    assert (project / "one.sarif").exists()
    printed = command("report", "merge", "net-v1.json", "-o", "all.txt")
    assert printed.code == 2
    assert "report all.txt: is of no known kind" in printed.err


@pytest.mark.parametrize(
    ("shards", "code", "last"),
    [
        (["net-v1.json", "net-v3.json"], 2, "compared  2 checkpoints, 12 tensors"),
        (["net-v2.json", "net-v3.json"], 1, "compared  2 checkpoints, 12 tensors"),
        (["own-v1.json", "own-v3.json"], 0, "compared  2 checkpoints, 12 tensors"),
        (["own-v1.json", "own-v1.json"], 0, "compared  1 checkpoint, 6 tensors"),
        (["net-v1.json", "whole.json"], 1, "compared  3 checkpoints, 18 tensors"),
        (["net-v2.json"], 1, "compared  1 checkpoint, 6 tensors"),
        (["none.json"], 2, "could not check: no checkpoint was compared"),
        (["own-v1.json", "none.json"], 0, "compared  1 checkpoint, 6 tensors"),
        (["own-v1.json", "unknown.json"], 2, "compared  1 checkpoint, 6 tensors"),
        (["net-v2.json", "unknown.json"], 1, "compared  1 checkpoint, 6 tensors"),
        (["own-v1.json", "failed.json"], 2, "compared  2 checkpoints, 12 tensors"),
        (["own-v1.json", "skipped.json"], 0, "compared  1 checkpoint, 6 tensors"),
        (["skipped.json", "own-v1.json"], 0, "compared  1 checkpoint, 6 tensors"),
        (["skipped.json"], 2, "could not check: no checkpoint was compared"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_it_exits_as_the_whole_run(
    project: Path, command: Command, shards: list[str], code: int, last: str
) -> None:
    """Reports that begin with "own" are of all that their project has."""
    nothing = {"source": "", "tensors": None, "digest": None}
    for name in ("v1", "v3"):
        changed(project / f"net-{name}.json", f"own-{name}.json", deselected=[], compatible=True)
    changed(project / "own-v1.json", "none.json", checkpoints=[], registered=[])
    unchecked = {"state": "unknown", "old": nothing, "new": nothing, "id": "net-v9"}
    changed(project / "own-v1.json", "unknown.json", checkpoint=unchecked, registered=["net-v9"])
    changed(project / "own-v3.json", "failed.json", failures=["failed    the disk is full"])
    changed(project / "own-v1.json", "skipped.json", checkpoint={"state": "skipped", "old": nothing})
    printed = command("report", "merge", *shards)
    assert (printed.code, printed.err) == (code, "")
    assert printed.out.splitlines()[-1] == last


def test_shards_that_disagree(project: Path, command: Command) -> None:
    changed(
        project / "net-v1.json", "b.json", checkpoint={"state": "broken", "headline": "CK101 net-v1: gone"}
    )
    printed = command("report", "merge", "net-v1.json", "b.json", "-o", "all.json")
    assert (printed.code, printed.out) == (2, "")
    expected = "b.json: says of net-v1: CK101 net-v1: gone; net-v1.json says: OK net-v1: 6 tensors load; "
    assert printed.err == f"ckpt-compat: {expected}check it in one shard, on one commit\n"
    assert not (project / "all.json").exists()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"written_by": "pytest-ckpt-compat 99.0"}, "was written by pytest-ckpt-compat 99.0, and this is"),
        ({"written_by": None}, "was written by an earlier version, and this is pytest-ckpt-compat"),
        ({"schema": 7}, "write and read reports with one version"),
        ({"against": "main (merge base 1234abcd)"}, "is compared with main (merge base 1234abcd), and"),
        (
            {"checkpoints": None},
            "is not a report on all checkpoints; write it with ckpt-compat check --report",
        ),
        ({"registered": None}, "is a report with something in it that none has: registered is None; write"),
    ],
)
def test_what_is_no_report_of_this_run(
    project: Path, command: Command, fields: dict[str, Any], complaint: str
) -> None:
    changed(project / "net-v3.json", "b.json", **fields)
    printed = command("report", "merge", "net-v1.json", "b.json")
    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith("ckpt-compat: b.json: ")
    assert complaint in printed.err
    assert printed.err.count("\n") == 1


def test_what_is_no_report_at_all(project: Path, command: Command) -> None:
    (project / "text.json").write_text("[" * 100_000)
    (project / "binary.json").write_bytes(b"\x80\x02}")
    snapshot = "ckpt_snapshots/net-v1.json"
    for name, complaint in (
        ("absent.json", "cannot be read: No such file or directory; check the path"),
        ("text.json", "is not a report on all checkpoints; write it"),
        ("binary.json", "cannot be read: 'utf-8' codec"),
        ("net.pt" if (project / "net.pt").exists() else "models.py", ""),
        (snapshot, "is not a report on all checkpoints; write it"),
    ):
        printed = command("report", "merge", name)
        assert (printed.code, printed.out) == (2, "")
        assert printed.err.startswith(f"ckpt-compat: {name}: {complaint}")
        assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("fields", "here", "there"),
    [
        ({"text": "OK net-v1\n  C:\\x\\net.pt"}, "OK net-v1", "OK net-v1: 6 tensors load"),
        ({"where": "net.py:9"}, 'where is "net.py:9"', 'where is "models.py:'),
        ({"notes": ["n" * 500]}, 'notes is ["nnn', "notes is []"),
    ],
)
def test_what_two_shards_disagree_about_is_named(
    project: Path, command: Command, fields: dict[str, Any], here: str, there: str
) -> None:
    changed(project / "net-v1.json", "b.json", checkpoint=fields)
    printed = command("report", "merge", "net-v1.json", "b.json")
    assert printed.code == 2
    assert printed.err.startswith(f"ckpt-compat: b.json: says of net-v1: {here}"), printed.err
    assert f"; net-v1.json says: {there}" in printed.err
    assert len(printed.err) < 600


@pytest.mark.parametrize(
    ("shard", "fields", "complaint"),
    [
        ("net-v1", {"registered": ["net-v1", "net-v5"]}, "it says nothing of net-v5, which is registered"),
        ("net-v1", {"checkpoints": []}, "it says nothing of net-v1, which is registered"),
        *(
            (
                "net-v2",
                {"checkpoint": {"state": state}, "compatible": True},
                f"net-v2 is {state}, and has a ch",
            )
            for state in ("ok", "warning", "before", "skipped", "unknown")
        ),
        *(
            (
                "net-v1",
                {"checkpoint": {"compatible": own}},
                "net-v1 is ok, and not compatible by its own word",
            )
            for own in (False, None)
        ),
        ("net-v1", {"compatible": None}, "compatible is None"),
    ],
)
def test_no_report_says_more_than_its_checkpoints_do(
    project: Path, command: Command, shard: str, fields: dict[str, Any], complaint: str
) -> None:
    changed(project / f"{shard}.json", "b.json", **fields)
    printed = command("report", "merge", "net-v3.json", "b.json")
    assert (printed.code, printed.out) == (2, "")
    assert f"b.json: is a report with something in it that none has: {complaint}" in printed.err


def test_a_report_may_begin_with_a_byte_order_mark(project: Path, command: Command) -> None:
    text = (project / "net-v1.json").read_text(encoding="utf-8")
    (project / "b.json").write_text(text, encoding="utf-8-sig")
    printed = command("report", "merge", "b.json")
    assert (printed.err, printed.out.splitlines()[0]) == ("", "OK net-v1: 6 tensors load")


def told(identifier: str, definition: str, key: str) -> Entry:
    """An entry about a definition that lacks a key."""
    missing = {
        "rule": "CK101",
        "severity": "error",
        "old": [],
        "new": [key],
        "old_specs": [],
        "new_specs": [],
    }
    return Entry(identifier, "broken", "", "", data={"new": {"source": definition}, "changes": [missing]})


def test_what_a_checkpoint_shows_of_its_definition_is_said_once() -> None:
    entries = [
        *(told(f"c{at}", f"models.N{at}", "a") for at in range(3)),
        told("d0", "models.N0", "a"),
        told("d1", "models.N1", "b"),
        told("d3", "models.N3", "a"),
    ]
    found = [each.id for each in of_run.once(entries, ["c0", "c1", "c2"])]
    assert found == ["c0", "c1", "c2", "d1", "d3"]


def test_definitions_are_not_compared_with_every_checkpoint() -> None:
    def lines(number: int) -> int:
        own = [told(f"c{at}", f"models.C{at}", "a") for at in range(number)]
        others = [told(f"d{at}", f"models.D{at}", "a") for at in range(number)]
        asked = {each.id for each in own}
        with calls() as counted:
            assert len(list(of_run.once([*own, *others], asked))) == 2 * number
            return counted()

    assert lines(80) < 3 * lines(40)


def test_texts_of_a_report_are_safe_to_print(project: Path, command: Command) -> None:
    evil = {"text": "one\x1b[2J\ntwo", "headline": "three\x1b[2J", "state": "broken"}
    changed(project / "net-v1.json", "b.json", checkpoint=evil)
    printed = command("report", "merge", "b.json")
    assert "one\\x1b[2J\ntwo" in printed.out
    assert "\x1b" not in printed.out


def test_checkpoints_that_no_shard_has_are_named(project: Path, command: Command) -> None:
    """A run of some of them knows of the others that it has collected."""
    printed = command(
        "report", "merge", "net-v1.json", "net-v3.json", "-o", "all.json", "-o", "all.md", "-o", "all.html"
    )
    line = "1 registered checkpoint is not in this report: net-v2"
    assert (printed.code, line in printed.out.splitlines()) == (2, True), printed.out
    whole = json.loads((project / "all.json").read_text())
    assert (whole["deselected"], whole["compatible"]) == (["net-v2"], False)
    assert line in (project / "all.md").read_text()
    assert f"{line}</p>" in (project / "all.html").read_text(encoding="utf-8")
    printed = command("report", "merge", "all.json", "net-v2.json")
    assert (printed.code, "not in this report" in printed.out) == (1, False)


def test_workers_say_which_checkpoints_no_shard_has(
    project: Path, pytester: pytest.Pytester, command: Command
) -> None:
    pytester.runpytest_subprocess("-n2", "-k", "net-v1", "--ckpt-report=part.json").assert_outcomes(passed=1)
    assert json.loads((project / "part.json").read_text())["deselected"] == ["net-v2", "net-v3"]
