"""Fingerprints in the place of checkpoints: those of training runs, and files that hold one."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.training_runs import is_training_run
from pytest_ckpt_compat._snapshots.lone_file import read_file

if TYPE_CHECKING:
    from pytest_ckpt_compat._registry.registration import Registration

_AGAIN = "log it again: pytest_ckpt_compat.log_fingerprint(run, model)"


def fingerprint_at(path: str | os.PathLike[str]) -> Structure | None:
    """What a fingerprint says, of a training run or in a file; None where the path is of anything else.

    Raises:
        ReadError: the run, or its fingerprint, is not there.
        UnreachableError: the tracker cannot be reached at present (a kind of ReadError).
        SnapshotError: the fingerprint cannot be used.
    """
    text = os.fspath(path)
    if not is_training_run(text):
        return read_file(path)
    from pytest_ckpt_compat._snapshots import fingerprint

    try:
        return fingerprint.loads(readers.logged_text(text), text)
    except SnapshotError as error:
        advice = error.advice if error.advice == fingerprint.NEWER else _AGAIN
        raise SnapshotError(error.subject, error.problem, advice) from None


def registered(registration: Registration) -> Structure | None:
    """The fingerprint that a registration names; None where it names a checkpoint. Raises the same."""
    if registration.address and not is_training_run(registration.address):
        return None
    found = fingerprint_at(registration.address or registration.path)
    return found and replace(found, source=replace(found.source, path=registration.shown))


def is_fingerprint(registration: Registration) -> bool:
    """Whether a registration names a fingerprint, of which no snapshot is kept; asks no tracker."""
    if registration.address:
        return is_training_run(registration.address)
    try:
        return read_file(registration.path) is not None
    except SnapshotError:
        return True
