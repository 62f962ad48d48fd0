"""Whoever waits at a terminal sees what for; a log, a pipe and captured output never do."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TextIO

import pytest

from pytest_ckpt_compat._pytest_plugin.progress import PATIENCE, Progress, Terminal, terminal_of
from pytest_ckpt_compat._pytest_plugin.run_terminal import find_terminal
from tests.conftest import Filled, save

#: What the terminal is told: keep the cursor's place, write, erase the rest, go back; later, erase.
SHOWN, ERASED = "\x1b7{}\x1b[K\x1b8", "\x1b[K"


class Clock:
    """Stands still unless it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Paper(io.StringIO):
    """A screen that keeps all that is written on it."""

    width = 80

    def columns(self) -> int:
        return self.width


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def progress(clock: Clock, paper: Paper) -> Progress:
    return Progress(paper, clock)


def test_quick_work_is_not_shown(progress: Progress, clock: Clock, paper: Paper) -> None:
    progress.begin()
    progress.say("reading net.pt")
    clock.now = PATIENCE - 0.01
    progress.look()
    progress.end()
    assert paper.getvalue() == ""


def test_slow_work_is_shown_once_and_erased(progress: Progress, clock: Clock, paper: Paper) -> None:
    progress.begin()
    progress.say("reading s3://user:secret@bucket/a\x1b.pt?token=1")
    clock.now = PATIENCE
    progress.look()
    progress.look()
    shown = SHOWN.format("reading s3://bucket/a\\x1b.pt ...")
    assert paper.getvalue() == shown
    progress.say("building Net")
    progress.look()
    assert paper.getvalue() == shown + SHOWN.format("building Net ...")
    progress.end()
    progress.look()
    assert paper.getvalue() == shown + SHOWN.format("building Net ...") + ERASED


def test_nothing_is_shown_while_a_user_is_asked(progress: Progress, clock: Clock, paper: Paper) -> None:
    progress.begin()
    progress.say("reading net.pt")
    clock.now = PATIENCE
    progress.look()
    progress.say("")
    progress.look()
    progress.end()
    assert paper.getvalue() == SHOWN.format("reading net.pt ...") + ERASED


def test_the_clock_starts_anew(progress: Progress, clock: Clock, paper: Paper) -> None:
    progress.begin()
    clock.now = 100
    progress.end()
    progress.begin()
    progress.say("reading net.pt")
    progress.look()
    assert paper.getvalue() == ""


@pytest.mark.parametrize(
    ("column", "doing", "expected"),
    [
        (10, "reading net.pt", " reading net.pt ..."),
        (10, "reading checkpoints/classifier_v1.pt", " ...ints/classifier_v1.pt ..."),
        (10, "reading 分類器/学習済みのモデル.pt", " .../学習済みのモデル.pt ..."),
        (0, "reading checkpoints/classifier_v1.pt", "...ckpoints/classifier_v1.pt ..."),
        (30, "reading net.pt", None),
    ],
)
def test_it_stays_within_the_line(
    progress: Progress, clock: Clock, paper: Paper, column: int, doing: str, expected: str | None
) -> None:
    paper.width = 34 if column == 0 else 40
    progress.begin(column)
    progress.say(doing)
    clock.now = PATIENCE
    progress.look()
    assert paper.getvalue() == ("" if expected is None else SHOWN.format(expected))


@contextlib.contextmanager
def _terminal(number: int) -> Iterator[TextIO]:
    with open(number, "w", encoding="utf-8", closefd=False) as stream:
        yield stream


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(
    ("environment", "there"),
    [
        ({}, True),
        ({"TERM": "xterm"}, True),
        ({"CI": "true"}, False),
        ({"BUILD_NUMBER": "7"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_the_log_of_a_ci_run_is_no_terminal(environment: dict[str, str], there: bool) -> None:
    ends = os.openpty()
    with _terminal(ends[1]) as stream:
        found = terminal_of(stream, environment)
        assert isinstance(found, Terminal) is there
        if found is not None:
            assert found.columns() == 80
            found.write("écrit")
            assert os.read(ends[0], 100) == "écrit".encode()
            found.close()
    for end in ends:
        os.close(end)


def test_what_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, io.StringIO(), closed, sys.stderr):
        assert terminal_of(stream, {}) is None


#: No other plugin that draws on the terminal.
_ALONE = ["-p", "no:sugar", "-p", "no:asyncio"]

#: A model that is built only once the line has been seen, or cannot come; it prints which. No clock decides.
_SLOW = """
import threading

from models import Net

seen = threading.Event()


def slow():
    watched = any(thread.name == "ckpt-compat progress" for thread in threading.enumerate())
    if watched:
        assert seen.wait(120)
    with open("watched.txt", "a") as stream:
        stream.write(f"{watched} ")
    print("the model prints")
    return Net()
"""
_IMPATIENT = """
import slow
from pytest_ckpt_compat._pytest_plugin import progress

progress.PATIENCE = 0.0
look = progress.Progress.look


def looked(self):
    look(self)
    if "building" in self._shown:
        slow.seen.set()


progress.Progress.look = looked
"""
_REGISTERED = """
[[tool.ckpt_compat.checkpoint]]
path = "net.pt"
model = "slow:slow"
id = "net-v1"
"""


@pytest.fixture
def slow(project: pytest.Pytester, filled: Filled, warm_python: str) -> pytest.Pytester:
    """A project with a recorded checkpoint, in which everything takes too long."""

    def fill() -> None:
        project.makepyfile(slow=_SLOW)
        project.makeconftest(_IMPATIENT)
        with (project.path / "pyproject.toml").open("a", encoding="utf-8") as stream:
            stream.write(_REGISTERED)
        save(project.path / "net.pt")
        assert project.run(warm_python, "-m", "pytest_ckpt_compat", "update").ret == 0
        (project.path / "watched.txt").unlink()

    filled("slow", fill)
    return project


def at_a_terminal(project: pytest.Pytester, *words: str, **variables: str) -> tuple[str, str]:
    """What a command shows at a terminal, and whether it was watched while the model was built."""
    clean = ("CI", "BUILD_NUMBER", "GITHUB_", "PYTEST_", "TERM", "COLUMNS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(clean)}
    environment |= {"TERM": "xterm", **variables}
    ends = os.openpty()
    alone = [] if "sugar" in words or "pytest" not in words else _ALONE
    command = [sys.executable, *words, *alone]
    process = subprocess.Popen(
        command, cwd=project.path, env=environment, stdin=ends[1], stdout=ends[1], stderr=ends[1]
    )
    os.close(ends[1])
    shown = b""
    with contextlib.suppress(OSError):  # at the end of the output
        while data := os.read(ends[0], 1 << 16):
            shown += data
    os.close(ends[0])
    assert process.wait(60) == 0, shown.decode()
    return shown.decode(), (project.path / "watched.txt").read_text(encoding="utf-8").split()[0]


def on_screen(text: str) -> str:
    """What the terminal holds at the end: what was written over or erased is gone."""
    lines, column, kept = [""], 0, 0
    for sign in re.findall(r"\x1b7|\x1b8|\x1b\[K|\x1b\[[0-9;]*m|.", text, re.DOTALL):
        if sign == "\x1b7":
            kept = column
        elif sign == "\x1b8":
            column = kept
        elif sign == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif sign == "\r":
            column = 0
        elif sign == "\n":
            lines.append("")
            column = 0
        elif not sign.startswith("\x1b"):
            lines[-1] = lines[-1][:column].ljust(column) + sign + lines[-1][column + 1 :]
            column += 1
    return "\n".join(lines)


terminals = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")


@terminals
@pytest.mark.long
@pytest.mark.parametrize("options", [[], ["-v"]], ids=" ".join)
def test_pytest_shows_what_takes_long(slow: pytest.Pytester, options: list[str]) -> None:
    text, watched = at_a_terminal(slow, "-m", "pytest", *options)
    assert watched == "True"
    assert "building slow.slow (slow.py:8) for net-v1 ..." in text
    left = on_screen(text)
    assert "building" not in left
    assert "the model prints" not in text
    assert "1 passed" in left
    first = re.search(r"^pyproject.toml.*$", left, re.MULTILINE)
    assert first is not None
    assert re.fullmatch(r"pyproject.toml(::net-v1 PASSED| \.) +\[100%\]", first[0])


@terminals
@pytest.mark.long
@pytest.mark.parametrize("options", [["-s"], ["-n1"], ["-p", "sugar", "--force-sugar"]], ids=" ".join)
def test_pytest_shows_nothing_of_it(slow: pytest.Pytester, options: list[str]) -> None:
    if "sugar" in options and find_spec("pytest_sugar") is None:
        pytest.skip("pytest-sugar is not installed: pip install -e '.[plugins]'")
    text, watched = at_a_terminal(slow, "-m", "pytest", *options)
    assert watched == "False"
    assert "building" not in text
    assert "\x1b7" not in text


@terminals
@pytest.mark.parametrize(
    ("options", "environment", "there"),
    [
        ("", {}, True),
        ("-v", {}, True),
        ("--capture=sys", {}, True),
        ("-q", {}, False),
        ("-s", {}, False),
        ("--capture=tee-sys", {}, False),
        ("-p no:terminal", {}, False),
        ("", {"CI": "true"}, False),
    ],
)
def test_whose_terminal_it_is(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    environment: dict[str, str],
    there: bool,
) -> None:
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = pytester.parseconfigure(*_ALONE, *options.split())
    ends = os.openpty()
    with _terminal(ends[1]) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        found = find_terminal(config)
        monkeypatch.undo()
    assert (found is not None) is there
    if found is not None:
        found.close()
    for end in ends:
        os.close(end)


@terminals
@pytest.mark.long
@pytest.mark.parametrize("command", [["check"], ["update", "--verify"], ["status"]], ids=" ".join)
def test_commands_show_what_takes_long(slow: pytest.Pytester, command: list[str]) -> None:
    text, watched = at_a_terminal(slow, "-m", "pytest_ckpt_compat", *command)
    assert watched == "True"
    place = "" if command == ["status"] else "1 of 1: "
    assert f"\x1b7{place}building slow.slow (slow.py:8) for net-v1 ..." in text
    left = on_screen(text)
    assert "building" not in left
    assert "collecting" not in left


@terminals
@pytest.mark.long
def test_a_command_in_a_pipe_or_on_ci_shows_nothing(slow: pytest.Pytester) -> None:
    words = [sys.executable, "-m", "pytest_ckpt_compat", "check"]
    done = subprocess.run(words, cwd=slow.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text, watched = at_a_terminal(slow, "-m", "pytest_ckpt_compat", "check", CI="true")
    assert watched == "False"
    assert "\x1b" not in text
