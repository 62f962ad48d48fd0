"""What commands say on standard error: remarks, questions, and what the user is waiting for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_ckpt_compat._core.display import typed, visible


def say(line: str) -> None:
    """Prints a line on standard error, under the command's name."""
    print(f"ckpt-compat: {visible(line)}", file=sys.stderr, flush=True)


def can_ask() -> bool:
    """Whether a user sits at a terminal, and can be asked."""
    streams = (sys.stdin, sys.__stderr__)
    return all(stream is not None and stream.isatty() for stream in streams)


def show(text: str = "") -> None:
    """Prints lines at the terminal, whatever standard output and standard error are while code runs."""
    print(text, file=sys.__stderr__, flush=True)


def asked(question: str) -> str:
    """The line that the user answers, with its end; "" where the input has ended."""
    print(question, end="", file=sys.__stderr__, flush=True)
    return typed(sys.stdin.readline())


@contextmanager
def reported_if_slow(what: str) -> Iterator[None]:
    """Shows at a terminal that a file is being read, if the work inside takes long."""
    from pytest_ckpt_compat._pytest_plugin.progress import shown

    with shown(sys.stderr) as doing:
        doing(f"reading {what}")
        yield
