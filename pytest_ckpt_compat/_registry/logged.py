"""The training runs that a registered path stands for, one registration each."""

from __future__ import annotations

import re

from pytest_ckpt_compat._core.errors import ReadError, UsageError
from pytest_ckpt_compat._core.training_runs import parsed

#: What cannot stand in an id.
_FORBIDDEN = re.compile(r'[\\:*?"<>|/\s]|[^\x20-\x7e]')


def lists_runs(text: str) -> bool:
    """Whether a path stands for any number of runs; one with a mistake stands for itself."""
    try:
        return parsed(text).several
    except ValueError:
        return False


def runs_of(subject: str, text: str) -> tuple[tuple[str, str], ...]:
    """(address, id) of each run that a path stands for. Asks the tracker where that is a list.

    Args:
        subject: where it was written, for messages.
        text: the path.

    Raises:
        UsageError: it has a mistake, or the tracker cannot list the runs.
    """
    try:
        runs = parsed(text)
    except ValueError as error:
        raise UsageError(subject, f"names {text}: {error}", "correct the path") from None
    if runs.several:
        from pytest_ckpt_compat import _readers

        try:
            return tuple((each.address, _id(runs.name, each.name)) for each in _readers.list_runs(text))
        except ReadError as error:
            raise UsageError(f"{subject}, {text}", error.problem, error.advice) from None
    if runs.kind == "models":
        version = f"@{_plain(runs.alias)}" if runs.alias else f"/{runs.version}"
        return ((text, f"{_plain(runs.name)}{version}"),)
    return ((text, _id(runs.name or "runs", runs.run)),)


def _id(folder: str, name: str) -> str:
    return f"{_plain(folder)}/{_plain(name)}"


def _plain(text: str) -> str:
    """The text as a part of an id."""
    return _FORBIDDEN.sub("_", text).strip(".-") or "_"
