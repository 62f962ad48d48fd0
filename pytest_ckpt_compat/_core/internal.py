"""Exceptions that this package should not have raised, as one line for a bug report."""

from __future__ import annotations

import os
import traceback

from pytest_ckpt_compat._core.addresses import redacted_in
from pytest_ckpt_compat._core.errors import CkptCompatError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Characters of an exception's own text: it may quote whole structures.
_LONGEST = 200


def words(error: BaseException) -> str:
    """What an exception says, in one line; "" also where its own ``__str__`` raises."""
    try:
        return " ".join(str(error).split())
    except Exception:
        return ""


def located(error: BaseException) -> str:
    """``IndexError: list index out of range (_renames/match/fusion.py:88)``: the last line of ours."""
    text = redacted_in(words(error))[:_LONGEST]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if os.path.abspath(frame.filename).startswith(_PACKAGE)]
    name = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if not ours:
        return name
    file = os.path.abspath(ours[-1].filename).removeprefix(_PACKAGE).replace(os.sep, "/")
    return f"{name} ({file}:{ours[-1].lineno})"


def in_a_line(error: BaseException) -> str:
    """An expected error as it is, and any other with its location and the request to report it."""
    return str(error) if isinstance(error, CkptCompatError) else f"{located(error)}; please report it"
