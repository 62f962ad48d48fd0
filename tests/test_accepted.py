"""Accepting a break: by exact changes, with a reason, until a date; nonsense is told."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from tests.conftest import SETTINGS, Said
from tests.test_snapshots import change_model

Command = Callable[..., Said]

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
"""
YESTERDAY = (date.today() - timedelta(days=1)).isoformat()
TOMORROW = (date.today() + timedelta(days=1)).isoformat()


@pytest.fixture
def widened(project: pytest.Pytester) -> pytest.Pytester:
    """A project whose head was widened after its snapshots were recorded."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    project.runpytest_inprocess("--ckpt-update", "-q")
    change_model(project, "classes=4", "classes=5")
    return project


def accepted(project: pytest.Pytester) -> str:
    path = project.path / "ckpt_snapshots" / "accepted.toml"
    return path.read_text() if path.exists() else ""


def test_the_failure_prints_the_command_and_the_command_works(
    widened: pytest.Pytester, command: Command
) -> None:
    result = widened.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    line = next(line for line in result.outlines if "ckpt-compat accept" in line)
    assert line.strip() == 'accept: ckpt-compat accept net-v1 --rule CK202 --key "head.*" --reason "..."'
    words = shlex.split(line.partition("ckpt-compat ")[2])
    refused = command(*words)
    assert refused.code == 2
    assert refused.err.startswith("ckpt-compat: accept net-v1: has no reason; ")
    assert accepted(widened) == ""
    said = command(*words[:-1], "five classes now")
    assert said.code == 0
    assert said.out.splitlines() == [
        "accepted  CK202 head.* of net-v1 (2 changes) in ckpt_snapshots/accepted.toml",
        "  head.weight float32[4, 8] -> head.weight float32[5, 8]",
        "  head.bias float32[4] -> head.bias float32[5]",
    ]
    assert accepted(widened).splitlines()[2:] == [
        "[[accepted]]",
        'id = "net-v1"',
        'rule = "CK202"',
        'key = "head.*"',
        'reason = "five classes now"',
        "changes = [  # 2 changes",
        '    "head.weight float32[4, 8] -> head.weight float32[5, 8]",',
        '    "head.bias float32[4] -> head.bias float32[5]",',
        "]",
    ]
    result = widened.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["CK907 net-v1: loads, the definition differs from its snapshot"])


def test_a_different_later_change_is_not_covered(widened: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now")
    change_model(widened, "classes=5", "classes=6")
    result = widened.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK202 net-v1: head resized", "*no longer occurs; take the entry out*"])


def test_an_entry_that_no_longer_occurs_warns(widened: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now")
    change_model(widened, "classes=5", "classes=4")
    result = widened.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["CK903 net-v1: loads, accepted.toml: the accepted CK202 [*] of net-v1 * no longer occurs; *"]
    )


@pytest.mark.parametrize("until", [TOMORROW, YESTERDAY])
def test_a_date(widened: pytest.Pytester, command: Command, until: str) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "for a week", "--until", until)
    result = widened.runpytest_inprocess()
    if until == TOMORROW:
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["CK904 *", f"*expired on {YESTERDAY}; repair the break, or accept*"])


def test_entries_are_kept_and_replaced(widened: pytest.Pytester, command: Command) -> None:
    for key, reason in (("head.weight", "one"), ("head.bias", "two"), ("head.bias", "three")):
        assert command("accept", "net-v1", "--rule", "CK202", "--key", key, "--reason", reason).code == (
            2 if reason == "three" else 0
        )
    assert accepted(widened).count("[[accepted]]") == 2
    widened.runpytest_inprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["gone", "--rule", "CK202"], "gone: is no registered checkpoint, and no definition that fails; *"),
        (["net-v1", "--rule", "CK101"], "*has no failing CK101 whose keys match [*]; *accepted: CK202"),
        (["net-v1", "--rule", "CK202", "--key", "neck"], "*whose keys match neck; *"),
    ],
)
def test_nothing_to_accept(
    widened: pytest.Pytester, command: Command, argv: list[str], complaint: str
) -> None:
    from fnmatch import fnmatchcase

    said = command("accept", *argv, "--reason", "why not")
    assert said.code == 2
    assert fnmatchcase(said.err.strip(), f"ckpt-compat: {complaint}"), said.err
    assert accepted(widened) == ""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<<<<<<< ours", "is not TOML: *"),
        ("accepted = 3", "has an accepted that is no list of tables; *"),
        ("[[acepted]]", "has a key 'acepted'; its tables are *"),
        ("[[accepted]]\nid = 'x'\nwhy = 1", "number 1, key why: is unknown; *"),
        ("[[accepted]]\nid = 3", "number 1, key id: is 3; *"),
        (
            "[[accepted]]\nid = 'x'\nrule = 'CK202'\nreason = ' '",
            "number 1, key reason: is not there or empty*",
        ),
        ("[[accepted]]\nid='x'\nrule='CK000'\nreason='r'\nchanges=['a -> b']", "*'CK000', which is no rule*"),
        (
            "[[accepted]]\nid='x'\nrule='CK202'\nreason='r'\nchanges=['ab']",
            "*holds something that is no change*",
        ),
        ("[[accepted]]\nuntil = 2026-01-01T00:00:00", "number 1, key until: is *"),
    ],
)
def test_nonsense_in_the_file(widened: pytest.Pytester, command: Command, text: str, complaint: str) -> None:
    (widened.path / "ckpt_snapshots" / "accepted.toml").write_text(text)
    result = widened.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"CK905 net-v1: ckpt_snapshots/accepted.toml*{complaint}"])
    said = command("accept", "net-v1", "--rule", "CK202", "--reason", "because")
    assert said.code == 2
    assert "Traceback" not in said.err
    assert accepted(widened) == text


def test_names_that_toml_and_shells_would_act_on() -> None:
    from pytest_ckpt_compat import accepted as module
    from pytest_ckpt_compat.changes import Change, Policy, Verdict
    from pytest_ckpt_compat.rules import judge
    from pytest_ckpt_compat.structure import TensorSpec

    keys = ('a"b', "c$(rm)", "d\n[[accepted]]", "e\u202e", "f\ud800", "\U0001f600\\")
    specs = (TensorSpec("float32", (1,)),)
    changes = judge((Change("missing", new=(key,), new_specs=specs) for key in keys), Policy())
    verdict = Verdict(changes, name="it's")
    entry = module.accept(verdict, "CK101", "*", 'a "reason"\nof two lines', None)
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / module.FILE).write_text(module.dumps([entry]), encoding="utf-8")
        (loaded,) = module.load(Path(name))
    assert loaded.changes == entry.changes
    assert all(
        change.severity is not None and change.severity.value == "accepted"
        for change in module.apply([verdict], [loaded], date.today(), ())[0].changes
    )
    (line,) = module.commands(Verdict(changes[1:2], name="it's"))
    assert shlex.split(line)[1:5] == ["accept", "it's", "--rule", "CK101"]
    assert shlex.split(line)[6] == "c$(rm)"
