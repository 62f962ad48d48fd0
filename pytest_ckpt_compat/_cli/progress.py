"""What commands say on standard error: remarks, questions, and what the user is waiting for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_ckpt_compat._core.addresses import redacted
from pytest_ckpt_compat._core.display import visible

#: Seconds before the first report; most files are read sooner.
PATIENCE = 1.0


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
    return sys.stdin.readline()


@contextmanager
def reported_if_slow(what: str) -> Iterator[None]:
    """Prints ``reading <what> ...`` on standard error if the work inside takes longer than a second."""
    timer = threading.Timer(PATIENCE, say, [f"reading {redacted(what)} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
