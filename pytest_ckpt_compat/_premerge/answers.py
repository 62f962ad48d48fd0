"""The near end of ``Process``: where the process that runs earlier code gets questions, and answers them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._definition.names import brief


class Answers:
    """The pipe to the other end, written to by this process alone."""

    def __init__(self, number: int) -> None:
        self._stream = os.fdopen(number, "w", encoding="utf-8")
        self._identity = _identity(number)
        self._process = os.getpid()
        self._stream.write("\n")  # ends a line that something printed before

    def send(self, number: int, found: Mapping[str, Any]) -> None:
        """Answers the question with this number.

        A fork of this process does not answer. If the project's code has closed the pipe, its number may be
        that of another file by now, and the process ends.
        """
        if os.getpid() != self._process or _identity(self._stream.fileno()) != self._identity:
            os._exit(1)
        self._stream.write(json.dumps({**found, "number": number}) + "\n")
        self._stream.flush()


def _identity(number: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def pipes() -> tuple[Iterator[str], Answers]:
    """Takes the standard input and output; other readers and writers get ``os.devnull``."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = Answers(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return iter(questions.readline, ""), answers


def failure(error: BaseException) -> dict[str, Any]:
    """The answer to a question on which something was raised."""
    return {"error": error.problem if isinstance(error, CkptCompatError) else f"it raised {brief(error)}"}
