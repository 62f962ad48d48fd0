"""Accepting a break: by exact changes, with a reason, until a date; mistakes are reported."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from pytest_ckpt_compat._snapshots.accepted import load, names
from tests.conftest import SETTINGS, Filled, Printed
from tests.test_snapshots import change_model

Command = Callable[..., Printed]

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
"""
YESTERDAY = (date.today() - timedelta(days=1)).isoformat()
TOMORROW = (date.today() + timedelta(days=1)).isoformat()


@pytest.fixture
def widened(project: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """A project whose head was widened after its snapshots were recorded."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    filled("recorded", lambda: project.runpytest_inprocess("--ckpt-update", "-q"))
    change_model(project, "classes=4", "classes=5")
    return project


def files(project: pytest.Pytester) -> list[Path]:
    return [project.path / "ckpt_snapshots" / name for name in names(project.path / "ckpt_snapshots")]


def accepted(project: pytest.Pytester) -> str:
    return "\n".join(path.read_text() for path in files(project))


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
    printed = command(*words[:-1], "five classes now")
    assert printed.code == 0
    assert printed.out.splitlines() == [
        f"accepted  CK202 head.* of net-v1 (2 changes) in ckpt_snapshots/accepted/{files(widened)[0].name}",
        "  head.weight float32[4, 8] -> head.weight float32[5, 8]",
        "  head.bias float32[4] -> head.bias float32[5]",
    ]
    assert accepted(widened).splitlines() == [
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
    result.stdout.fnmatch_lines(
        [
            "CK907 net-v1: loads, apart from accepted breaks, the definition differs from its snapshot "
            "ckpt_snapshots/definitions/models.Net.json (keys: 2 changed; record it: ckpt-compat update)"
        ]
    )


def test_a_different_later_change_is_not_covered(widened: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now")
    change_model(widened, "classes=5", "classes=6")
    result = widened.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["CK202 net-v1: head resized", "*no longer occurs (ckpt-compat update takes it out)*"]
    )


def test_an_entry_that_no_longer_occurs_warns(widened: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now")
    change_model(widened, "classes=5", "classes=4")
    result = widened.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["CK903 net-v1: loads, accepted/CK202.net-v1.*.toml: the accepted * no longer occurs (*"]
    )


@pytest.mark.parametrize("until", [TOMORROW, YESTERDAY])
def test_a_date(widened: pytest.Pytester, command: Command, until: str) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "for a week", "--until", TOMORROW)
    (path,) = files(widened)
    path.write_text(path.read_text().replace(TOMORROW, until))
    result = widened.runpytest_inprocess()
    if until == TOMORROW:
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["CK904 *", f"*expired on {YESTERDAY}; repair the break, or accept*"])


def lapsed(project: pytest.Pytester, command: Command, *keys: str) -> None:
    """Accepts changes of these keys, each in an entry of its own, until yesterday."""
    for key in keys:
        command("accept", "net-v1", "--rule", "CK202", "--key", key, "--reason", "soon", "--until", TOMORROW)
    for path in files(project):
        path.write_text(path.read_text().replace(TOMORROW, YESTERDAY))


@pytest.mark.parametrize("key", ["head.weight", "head.bias", "head.*"])
def test_past_its_date_the_entry_of_a_repaired_break_can_be_taken_out(
    widened: pytest.Pytester, command: Command, key: str
) -> None:
    """It failed for ever, and nothing but an edit by hand took it out."""
    lapsed(widened, command, key)
    assert command("check").code == 1
    change_model(widened, "classes=5", "classes=4")
    printed = command("check")
    assert printed.code == 0, printed.out
    assert "no longer occurs (ckpt-compat update takes it out)" in printed.out
    assert command("update").code == 0
    assert files(widened) == []


def test_past_their_dates_entries_end_with_the_command_that_the_failure_prints(
    widened: pytest.Pytester, command: Command
) -> None:
    lapsed(widened, command, "head.weight", "head.bias")
    (line,) = [line for line in command("check").out.splitlines() if "ckpt-compat accept" in line]
    words = shlex.split(line.partition("ckpt-compat ")[2])
    assert command(*words[:-1], "it stays").code == 0
    assert command("check").code == 0
    assert command("update").code == 0
    (path,) = files(widened)
    assert 'reason = "it stays"' in path.read_text()
    assert command("check").code == 0


@pytest.mark.parametrize("key", ["head.weight", "head.bias"])
def test_an_update_takes_out_the_entry_of_a_tensor_of_any_shape(
    widened: pytest.Pytester, command: Command, key: str
) -> None:
    """The comma inside of a shape was taken for one between two tensors of another file."""
    command("accept", "net-v1", "--rule", "CK202", "--key", key, "--reason", "five classes now")
    change_model(widened, "classes=5", "classes=4")
    assert "no longer occurs (ckpt-compat update takes it out)" in command("check").out
    assert command("update").code == 0
    assert files(widened) == []


def test_a_new_entry_takes_the_place_of_none_that_a_person_edited(
    widened: pytest.Pytester, command: Command
) -> None:
    """It has the file's name that the edited entry had when it was new, and was written over it."""
    command("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now")
    (path,) = files(widened)
    path.write_text(path.read_text().replace('id = "net-v1"', 'id = "net-v0"'))
    assert command("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now").code == 0
    assert sorted(each.id for each in load(widened.path / "ckpt_snapshots")) == ["net-v0", "net-v1"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_lies_in_the_place_of_the_folder_is_named(
    widened: pytest.Pytester, command: Command, kind: str
) -> None:
    """Its entries were gone, and nothing said so."""
    place = widened.path / "ckpt_snapshots" / "accepted"
    if kind == "file":
        place.write_text("../elsewhere")
    else:
        place.symlink_to("nowhere")
    verified = command("update", "--verify")
    assert verified.code == 1
    assert "unusable  ckpt_snapshots/accepted: " in verified.out
    for words in (["status"], ["accept", "net-v1", "--all", "--reason", "five classes now"]):
        printed = command(*words)
        assert (printed.code, printed.out) == (2, "")
        assert printed.err.startswith("ckpt-compat: ckpt_snapshots/accepted: ")
    assert "? ckpt_snapshots/accepted: " in command("check").out


def test_a_date_that_has_passed_is_refused(widened: pytest.Pytester, command: Command) -> None:
    printed = command("accept", "net-v1", "--rule", "CK202", "--reason", "late", "--until", YESTERDAY)
    assert printed.code == 2
    assert (
        printed.err
        == f"ckpt-compat: --until {YESTERDAY}: has passed; give the last day on which it is accepted\n"
    )
    assert accepted(widened) == ""


def test_entries_are_kept(widened: pytest.Pytester, command: Command) -> None:
    for key, reason, code in (("head.weight", "one", 0), ("head.bias", "two", 0), ("head.bias", "three", 2)):
        assert command("accept", "net-v1", "--rule", "CK202", "--key", key, "--reason", reason).code == code
    assert accepted(widened).count("[[accepted]]") == 2
    assert '"three"' not in accepted(widened)
    widened.runpytest_inprocess().assert_outcomes(passed=1)


def test_what_is_accepted_already_is_not_accepted_again(widened: pytest.Pytester, command: Command) -> None:
    words = ("accept", "net-v1", "--rule", "CK202", "--key", "head.*", "--reason", "five classes now")
    assert command(*words).code == 0
    printed = command(*words)
    assert (printed.code, printed.err) == (
        2,
        "ckpt-compat: accept net-v1: CK202 head.* is already accepted; to change its reason or date, edit "
        f"its entry in accepted/{files(widened)[0].name}\n",
    )


def test_two_entries_of_one_break_are_named(widened: pytest.Pytester, command: Command) -> None:
    words = ("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now")
    assert command(*words).code == 0
    (path,) = files(widened)
    entry = path.read_text().replace("float32[4", "float32[9")
    path.write_text(f"{entry}\n{entry}")
    printed = command(*words)
    assert printed.code == 0
    assert printed.out.splitlines()[-1] == (
        "note: 2 entries have this id, rule and key; this one was updated"
    )
    assert path.read_text().endswith(entry)


def test_an_entry_that_is_accepted_again_keeps_what_it_covers(
    widened: pytest.Pytester, command: Command
) -> None:
    """The same id, rule and key: one entry, with both reasons and the changes of both."""
    change_model(widened, "classes=5", "classes=4")
    change_model(widened, "extra=False", "extra=True")
    assert command("accept", "net-v1", "--rule", "CK101", "--reason", "one").code == 0
    change_model(
        widened, "self.scale =", "self.shift = nn.Parameter(torch.ones(1))\n            self.scale ="
    )
    printed = command("check")
    assert (printed.code, "CK101 net-v1: 1 of 8 tensors missing" in printed.out) == (1, True), printed.out
    assert command("accept", "net-v1", "--rule", "CK101", "--reason", "both").code == 0
    assert accepted(widened).count("[[accepted]]") == 1
    assert 'reason = "one; both"' in accepted(widened)
    assert command("check").code == 0


def test_an_entry_with_an_unknown_id_is_reported(widened: pytest.Pytester, command: Command) -> None:
    command("accept", "net-v1", "--rule", "CK202", "--reason", "five classes now")
    (path,) = files(widened)
    (path.parent / "by-hand.toml").write_text(path.read_text().replace("net-v1", "net-v0"))
    line = (
        "CK903 accepted/by-hand.toml: the accepted CK202 * of net-v0 (five classes now): "
        "no registered checkpoint has this id (ckpt-compat update takes it out)"
    )
    printed = command("check")
    assert (printed.code, line in printed.out.splitlines()) == (0, True), printed.out
    result = widened.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    assert line in result.outlines
    assert line not in widened.runpytest_inprocess("-k", "net-v1").outlines, "a selection cannot tell"


RAISING = """
    def _load_from_state_dict(self, *args):
        raise KeyError("gone")
"""


def test_a_load_that_raises_is_accepted_by_its_words(widened: pytest.Pytester, command: Command) -> None:
    change_model(widened, "classes=5", "classes=4")
    change_model(widened, "\n    def forward", RAISING + "\n    def forward")
    printed = command("check")
    assert printed.code == 1
    line = next(line for line in printed.out.splitlines() if "ckpt-compat accept" in line)
    words = shlex.split(line.partition("ckpt-compat ")[2])
    assert words == ["accept", "net-v1", "--rule", "CK401", "--reason", "..."]
    assert command(*words[:-1], "it is to be converted").code == 0
    printed = command("check")
    assert printed.code == 0
    assert "CK401 net-v1: accepted, KeyError: 'gone' (models.py:" in printed.out
    change_model(widened, "import torch\n", "import torch\n\n")
    assert command("check").code == 0, "the line moved, and nothing else"
    change_model(widened, '"gone"', '"other"')
    assert command("check").code == 1


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["gone", "--rule", "CK202"], "gone: is neither a registered checkpoint nor a failing definition; *"),
        (
            ["net-v1", "--rule", "CK101"],
            "*has no failing CK101 whose keys match [*]; *accepted: CK202 head.weight, CK202 head.bias",
        ),
        (
            ["net-v1", "--rule", "CK202", "--key", "neck"],
            "accept net-v1: has no key that matches neck; CK202 fails for head.weight, head.bias",
        ),
        (
            ["net-v1", "--rule", "CK202", "--key", "heads.*"],
            "accept net-v1: has no key that matches heads.[*]; did you mean head.[*][?] CK202 fails for *",
        ),
        (
            ["net-v1", "--rule", "CK202", "--key", "head"],
            "accept net-v1: has no key that matches head; did you mean head.[*][?] CK202 fails for *",
        ),
        (
            ["net-v1", "--rule", "CK202", "--key", "body.*"],
            "accept net-v1: CK202 fails for no key that matches body.[*]; what fails *: CK202 head.weight, *",
        ),
        (
            ["net-v1", "--rule", "CK220"],
            "--rule CK220: is not a rule; did you mean CK202 (head-resized)[?] ckpt-compat explain lists *",
        ),
    ],
)
def test_nothing_to_accept(
    widened: pytest.Pytester, command: Command, argv: list[str], complaint: str
) -> None:
    from fnmatch import fnmatchcase

    printed = command("accept", *argv, "--reason", "why not")
    assert printed.code == 2
    assert fnmatchcase(printed.err.strip(), f"ckpt-compat: {complaint}"), printed.err
    assert accepted(widened) == ""


@pytest.mark.parametrize("rule", ["ck202", "head-resized"])
def test_a_rule_is_named_as_for_explain(widened: pytest.Pytester, command: Command, rule: str) -> None:
    assert command("accept", "net-v1", "--rule", rule, "--reason", "the new task").code == 0
    assert 'rule = "CK202"' in accepted(widened)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<<<<<<< ours", "has conflict markers (line 1); *"),
        ("accepted = 3", "has a key 'accepted' that is not a list of tables; *"),
        ("[[acepted]]", "has a key 'acepted'; its tables are *"),
        ("[[accepted]]\nid = 'x'\nwhy = 1", "number 1, key why: is unknown; *"),
        ("[[accepted]]\nid = 3", "number 1, key id: is 3; *"),
        (
            "[[accepted]]\nid = 'x'\nrule = 'CK202'\nreason = ' '",
            "number 1, key reason: is missing or empty*",
        ),
        (
            "[[accepted]]\nid='x'\nrule='CK000'\nreason='r'\nchanges=['a -> b']",
            "*'CK000', which is not a rule*",
        ),
        (
            "[[accepted]]\nid='x'\nrule='CK202'\nreason='r'\nchanges=['ab']",
            "*holds something that is not a change*",
        ),
        (
            "[[accepted]]\nid='x'\nrule='CK401'\nreason='r'\nchanges=['(none) -> (none)']",
            "*holds something that is not a change*",
        ),
        ("[[accepted]]\nuntil = 2026-01-01T00:00:00", "number 1, key until: is *"),
    ],
)
def test_nonsense_in_the_file(widened: pytest.Pytester, command: Command, text: str, complaint: str) -> None:
    (widened.path / "ckpt_snapshots" / "accepted.toml").write_text(text)
    result = widened.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["CK202 net-v1: head resized", f"  [?] ckpt_snapshots/accepted.toml*{complaint}"]
    )
    printed = command("accept", "net-v1", "--rule", "CK202", "--reason", "because")
    assert printed.code == 2
    assert "Traceback" not in printed.err
    assert accepted(widened) == text


def test_names_that_toml_and_shells_would_act_on() -> None:
    from pytest_ckpt_compat._check import acceptance
    from pytest_ckpt_compat._core.changes import Change, Policy
    from pytest_ckpt_compat._core.rules import judge
    from pytest_ckpt_compat._core.structure import TensorSpec
    from pytest_ckpt_compat._core.verdict import Verdict
    from pytest_ckpt_compat._snapshots import accepted as module
    from pytest_ckpt_compat._snapshots import accepted_files

    keys = ('a"b', "c$(rm)", "d\n[[accepted]]", "e\u202e", "f\ud800", "\U0001f600\\")
    specs = (TensorSpec("float32", (1,)),)
    changes = judge((Change("missing", new=(key,), new_specs=specs) for key in keys), Policy())
    verdict = Verdict(changes, name="it's")
    wanted = module.Entry("it's", "CK101", "*", 'a "reason"\nof two lines')
    entry = acceptance.accept(verdict, (), wanted, date.today())
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        accepted_files.save(Path(name), [entry])
        (loaded,) = module.load(Path(name))
    assert loaded.changes == entry.changes
    assert all(
        change.severity is not None and change.severity.value == "accepted"
        for change in acceptance.apply([verdict], [loaded], date.today(), ())[0].changes
    )
    (line,) = acceptance.commands(Verdict(changes[1:2], name="it's"))
    assert shlex.split(line)[1:5] == ["accept", "it's", "--rule", "CK101"]
    assert shlex.split(line)[6] == "c$(rm)"
