"""``ckpt-compat review`` on a terminal: each break once, each answer written before the next question."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._check import check, checkpoint
from pytest_ckpt_compat._cli import migrate, review
from pytest_ckpt_compat._cli.progress import asked
from pytest_ckpt_compat._pytest_plugin import collection
from pytest_ckpt_compat._snapshots import accepted
from tests.conftest import SETTINGS, Printed, save
from tests.repository import ENTRY, commit, edit, git, make_project
from tests.test_migrate_choices import ambiguous
from tests.test_snapshots import change_model

Command = Callable[..., Printed]
Answer = Callable[..., tuple[int, str]]

TWO = ENTRY + ENTRY.replace("net-v1", "net-v2")


class Terminal:
    """A terminal at which a user has typed these lines already; what is shown is read all the time."""

    def __init__(self, typed: str) -> None:
        self._master, slave = pty.openpty()
        quiet = termios.tcgetattr(slave)
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, quiet)
        self.slave = slave
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        os.write(self._master, typed.encode())

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 10_000)
            except OSError:  # the other side has closed it
                return
            self._shown += data

    def shown(self) -> str:
        """All that was shown, once the other side has closed the terminal."""
        self._reader.join(30)
        os.close(self._master)
        return self._shown.decode().replace("\r\n", "\n")


@pytest.fixture
def answer(command: Command, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Runs a review in this process, with these answers; returns its exit code and what it showed."""

    def run(*answers: str, words: tuple[str, ...] = ("review",)) -> tuple[int, str]:
        terminal = Terminal("".join(f"{line}\n" for line in answers) + "\x04\x04")  # then the input ends
        with (
            open(terminal.slave, encoding="utf-8", closefd=False) as stdin,
            open(os.dup(terminal.slave), "w", encoding="utf-8") as stderr,
            monkeypatch.context() as patch,
        ):
            patch.setattr(sys, "stdin", stdin)
            patch.setattr(sys, "__stderr__", stderr)
            code = command(*words).code
        os.close(terminal.slave)
        return code, terminal.shown()

    return run


@pytest.fixture
def broken(project: pytest.Pytester) -> pytest.Pytester:
    """Two checkpoints whose head was widened and which lack a new layer."""
    project.makepyprojecttoml(SETTINGS + TWO)
    project.runpytest_inprocess("--ckpt-update", "-q")
    change_model(project, "classes=4", "classes=5")
    change_model(project, "        self.head =", "        self.extra = nn.Linear(3, 3)\n        self.head =")
    return project


def entries(folder: Path) -> list[tuple[str, str, str]]:
    return sorted((each.id, each.rule, each.reason) for each in accepted.load(folder / "ckpt_snapshots"))


def test_everything_that_fails_is_asked_once(
    broken: pytest.Pytester, answer: Answer, command: Command
) -> None:
    code, shown = answer("a", "", "the new task", "a", "", "")
    assert code == 0, shown
    assert shown.count("CK202 net-v1: ") == 1
    assert "(1 of 2) CK202 net-v1: " in shown
    assert "(2 of 2) CK202 net-v2: " in shown
    assert "[a]ccept, show in [f]ull, [s]kip, [q]uit: " in shown
    assert "why (nothing for: the new task)? " in shown
    assert "2 breaks: 2 settled, 0 open; run ckpt-compat check to see how it stands" in shown
    assert entries(broken.path) == [
        (name, rule, "the new task") for name in ("net-v1", "net-v2") for rule in ("CK101", "CK202")
    ]
    assert command("check").code == 0


def test_each_checkpoint_is_checked_once(
    broken: pytest.Pytester, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, checked = checkpoint.check_registered, []

    def counted(registration, context):  # type: ignore[no-untyped-def]
        checked.append(registration.id)
        return original(registration, context)

    monkeypatch.setattr(checkpoint, "check_registered", counted)
    answer("f", "a", "", "the new task", "s")
    assert checked == ["net-v1", "net-v2"]


@pytest.mark.parametrize("kind", ["unrecorded", "stale"])
def test_what_is_recorded_is_not_checked_again(
    project: pytest.Pytester, answer: Answer, command: Command, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Its model was built, and its file loaded, once to find the break and once more to record it."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    if kind == "stale":
        assert command("update").code == 0
        change_model(project, "classes=4", "classes=5")
        assert command("update").code == 1
        save(project.path / "net.pt", 5)
    original, loaded = check.check_structure, []

    def counted(structure, *words):  # type: ignore[no-untyped-def]
        loaded.append(structure.source.path)
        return original(structure, *words)

    monkeypatch.setattr(checkpoint, "check_structure", counted)
    code, shown = answer("r")
    assert (code, loaded) == (0, ["net.pt"]), shown
    monkeypatch.undo()
    assert command("update", "--verify").code == 0
    assert command("check").code == 0


def test_one_rule_of_a_checkpoint_is_accepted_and_the_rest_stays_open(
    broken: pytest.Pytester, answer: Answer
) -> None:
    code, shown = answer("a", "ck202", "the new task", "s", "s")
    assert code == 1
    assert "which of CK202, CK101 (nothing for all)? " in shown
    assert "2 breaks: 0 settled, 2 open" in shown
    assert entries(broken.path) == [("net-v1", "CK202", "the new task")]


@pytest.mark.parametrize("last", [("q",), ()], ids=["quit", "end of input"])
def test_what_was_answered_stays_when_the_user_leaves(
    broken: pytest.Pytester, answer: Answer, last: tuple[str, ...]
) -> None:
    code, shown = answer("a", "", "the new task", *last)
    assert (code, {each[0] for each in entries(broken.path)}) == (1, {"net-v1"}), shown


@pytest.mark.parametrize("answers", [("a", ""), ("a",)], ids=["why", "which"])
def test_the_end_of_the_input_is_no_answer(
    broken: pytest.Pytester, answer: Answer, answers: tuple[str, ...]
) -> None:
    """It was taken for an empty line, which repeats the reason before, or chooses every rule."""
    code, shown = answer("a", "", "the new task", *answers)
    assert (code, {each[0] for each in entries(broken.path)}) == (1, {"net-v1"}), shown
    assert "nothing was written" in shown


def test_a_reason_that_was_refused_is_not_offered_again(broken: pytest.Pytester, answer: Answer) -> None:
    code, shown = answer("a", "", "the new task", "a", "", ".", "a", "", "")
    assert code == 0, shown
    assert "(nothing for: .)" not in shown
    assert {each[2] for each in entries(broken.path)} == {"the new task"}


def test_nothing_is_being_done_while_the_user_is_asked(
    broken: pytest.Pytester, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that took long left "2 of 2:  ..." behind the question."""
    said: list[str] = []
    monkeypatch.setattr(collection, "shown", lambda _: contextlib.nullcontext(said.append))

    def asking(question: str) -> str:
        assert said[-1] == "", said[-1]
        return asked(question)

    monkeypatch.setattr(review, "asked", asking)
    code, shown = answer("s", "s")
    assert (code, any("2 of 2: " in each for each in said)) == (1, True), shown


def test_what_was_answered_stays_when_the_user_interrupts(
    broken: pytest.Pytester, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(question: str) -> str:
        if entries(broken.path):
            raise KeyboardInterrupt
        return asked(question)

    monkeypatch.setattr(review, "asked", interrupted)
    code, shown = answer("a", "", "the new task", "a", "", "")
    assert (code, {each[0] for each in entries(broken.path)}) == (1, {"net-v1"}), shown
    assert "interrupted: every answer before this question is written" in shown


def test_a_break_is_not_accepted_without_a_reason(broken: pytest.Pytester, answer: Answer) -> None:
    code, shown = answer("a", "", "", "x", "", "a", "", "...", "q")
    assert code == 1
    assert "nothing was written" in shown
    assert "ckpt-compat: accept net-v1: has no reason; say why" in shown
    assert entries(broken.path) == []


def test_all_keys_are_shown(project: pytest.Pytester, answer: Answer) -> None:
    project.makepyprojecttoml(SETTINGS + ENTRY)
    project.runpytest_inprocess("--ckpt-update", "-q")
    change_model(project, 'body="body"', 'body="trunk"')
    change_model(project, "self.body(x)", "self.trunk(x)")
    code, shown = answer("f", "q")
    assert code == 1
    assert "[a]ccept, [m]igrate, show in [f]ull, [s]kip, [q]uit: " in shown
    assert shown.count("body.2.weight -> trunk.2.weight") == 1


def test_the_code_that_migrates_is_printed_and_asked_about_again(
    project: pytest.Pytester, answer: Answer
) -> None:
    project.makepyprojecttoml(SETTINGS + ENTRY)
    project.runpytest_inprocess("--ckpt-update", "-q")
    change_model(project, 'body="body"', 'body="trunk"')
    change_model(project, "self.body(x)", "self.trunk(x)")
    code, shown = answer("m", "s")
    assert code == 1
    assert "def migrate(" in shown
    assert "4 of 4 steps proven" in shown
    assert shown.count("[m]igrate") == 2


def test_what_is_not_recorded_is_recorded(project: pytest.Pytester, answer: Answer, command: Command) -> None:
    project.makepyprojecttoml(SETTINGS + ENTRY)
    code, shown = answer("r")
    assert code == 0, shown
    assert "recorded  ckpt_snapshots/net-v1.json: 6 tensors" in shown
    assert "recorded  ckpt_snapshots/definitions/models.Net.json: 6 tensors" in shown
    assert command("check").code == 0
    assert answer() == (0, "checking every registered checkpoint ...\nnothing to review: no break is open\n")


def test_a_definition_is_recorded_alone(project: pytest.Pytester, answer: Answer) -> None:
    """A layer that no checkpoint has was recorded and is gone."""
    project.makepyprojecttoml(SETTINGS + ENTRY + "strict = false\n")
    change_model(project, "extra=False", "extra=True")
    project.runpytest_inprocess("--ckpt-update", "-q")
    change_model(project, "extra=True", "extra=False")
    project.makepyprojecttoml(SETTINGS + ENTRY)
    before = (project.path / "ckpt_snapshots" / "net-v1.json").read_bytes()
    code, shown = answer("r")
    assert code == 0, shown
    assert "(1 of 1) CK102 models.Net: " in shown
    assert "[a]ccept, [r]ecord, show in [f]ull" in shown
    assert "updated   ckpt_snapshots/definitions/models.Net.json: keys: 1 removed" in shown
    assert (project.path / "ckpt_snapshots" / "net-v1.json").read_bytes() == before


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_review_of_what_a_branch_breaks(
    pytester: pytest.Pytester, answer: Answer, command: Command
) -> None:
    folder = make_project(pytester.path, TWO)
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    edit(folder / "pyproject.toml", ENTRY.replace("net-v1", "net-v2"), "")
    edit(folder / "models.py", "classes=4", "classes=5")
    answers = ("a", "the new task", "r", "t", "nobody loads it")
    code, shown = answer(*answers, words=("review", "--against", "main"))
    assert code == 0, shown
    assert "its definition is still to be recorded\n[r]ecord, show in [f]ull, [s]kip, [q]uit: " in shown
    assert "re[t]ire, show in [f]ull, [s]kip, [q]uit: " in shown
    assert "retired   net-v2: nobody loads it" in shown
    assert {(name, rule) for name, rule, _ in entries(folder)} == {("net-v1", "CK202"), ("net-v2", "CK901")}
    assert command("check", "--against", "main").code == 0
    assert command("update", "--verify").code == 0


def test_migrate_asks_about_a_registered_checkpoint(
    project: pytest.Pytester, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found while pytest collects, which takes standard input away."""
    project.makepyprojecttoml(SETTINGS + ENTRY)
    monkeypatch.setattr(migrate, "registered", lambda *_: ambiguous())
    code, shown = answer("1", "1", words=("migrate", "net-v1"))
    assert code == 0
    assert shown.count("number, or nothing to leave it open: ") == 2


def test_without_a_terminal_one_line_says_what_to_use(
    broken: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n"))
    printed = command("review")
    assert (printed.code, printed.out) == (2, "")
    assert printed.err == (
        "ckpt-compat: review: asks questions, and this is no terminal; "
        'run ckpt-compat check, then ckpt-compat accept ID --all --reason "..."\n'
    )


@pytest.mark.long
def test_a_process_at_a_terminal(broken: pytest.Pytester) -> None:
    """As a user starts it: pytest, which collects, takes standard input away from what it runs."""
    terminal = Terminal("a\n\nthe new task\ns\n")
    words = [sys.executable, "-m", "pytest_ckpt_compat", "review"]
    done = subprocess.run(
        words,
        cwd=broken.path,
        stdin=terminal.slave,
        stderr=terminal.slave,
        stdout=subprocess.PIPE,
        check=False,
    )
    os.close(terminal.slave)
    shown = terminal.shown()
    assert (done.returncode, done.stdout) == (1, b""), shown
    assert "2 breaks: 1 settled, 1 open" in shown
    assert {each[0] for each in entries(broken.path)} == {"net-v1"}
