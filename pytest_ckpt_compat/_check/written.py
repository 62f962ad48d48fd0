"""Writes the snapshots of a run, and says what could not be written: on a full disk, each fails alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_ckpt_compat._check import update
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.internal import in_a_line

#: Failures of one cause that have a line each.
_APART = 3


def write_all(
    folder: Path, texts: Mapping[str, Sequence[str]], full: bool, over: Mapping[str, update.Over]
) -> tuple[list[str], bool]:
    """Writes each snapshot that can be written; returns lines on them, and whether one could not be.

    Args:
        folder: the snapshot folder.
        texts: name of a snapshot -> the fingerprints of which it is made.
        full: whether the lines list every key instead of folding.
        over: name of a definition's -> what outputs say of the one that is written over.
    """
    done = [
        _written(folder, name, texts[name], full, over.get(name, update.Over())) for name in sorted(texts)
    ]
    errors = [each for each in done if isinstance(each, Exception)]
    lines = [line for each in done if not isinstance(each, Exception) for line in each]
    return [*lines, *_failures(errors)], bool(errors)


def _written(
    folder: Path, name: str, texts: Sequence[str], full: bool, over: update.Over
) -> list[str] | Exception:
    try:
        return update.write(folder, name, update.merged(texts), full, over)
    except Exception as error:  # the others can be written all the same
        return error


def _failures(errors: Iterable[Exception]) -> list[str]:
    """A line for each failure, or for all of one cause, of which it names the first."""
    alike: defaultdict[object, list[Exception]] = defaultdict(list)
    for error in errors:
        cause = (error.problem, error.advice) if isinstance(error, CkptCompatError) else in_a_line(error)
        alike[cause].append(error)
    return [f"failed    {line}" for each in alike.values() for line in _lines(each)]


def _lines(errors: Sequence[Exception]) -> list[str]:
    first = errors[0]
    if len(errors) <= _APART or not isinstance(first, CkptCompatError):
        return list(dict.fromkeys(map(in_a_line, errors)))
    subject = f"{first.subject} and {len(errors) - 1:,} more"
    return [str(CkptCompatError(subject, first.problem, first.advice))]
