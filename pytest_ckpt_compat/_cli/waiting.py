"""What a user waits for, step by step: one line on a terminal, which is erased at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pytest_ckpt_compat._core.display import visible


class Said(Protocol):
    """Says what is being done now."""

    def __call__(self, text: str) -> None:
        """Shows the text in place of the one before."""


@contextmanager
def progress() -> Iterator[Said]:
    """Gives what shows a line on standard error; none in CI, and where no terminal is."""
    stream = sys.__stderr__
    shown = stream is not None and stream.isatty() and not os.environ.get("CI")
    width = 0

    def say(text: str) -> None:
        nonlocal width
        if not shown or stream is None:
            return
        line = visible(f"ckpt-compat: {text}")[: _columns() - 1]
        print(f"\r{line:<{width}}", end="", file=stream, flush=True)
        width = len(line)

    try:
        yield say
    finally:
        if width and stream is not None:
            print(f"\r{'':<{width}}\r", end="", file=stream, flush=True)


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns
    except OSError:
        return 80
