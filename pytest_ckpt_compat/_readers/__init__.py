"""Reads checkpoint files into structures. The content of a file decides its format, never its name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.addresses import redacted
from pytest_ckpt_compat._core.errors import ChoiceError, ReadError, UnreachableError
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._core.structure import OptimizerState, Structure
from pytest_ckpt_compat._readers.limits import ChoiceRefusalError, RefusalError, UnreachableRefusalError
from pytest_ckpt_compat._readers.sniff import download, optimizers_of, read_any
from pytest_ckpt_compat._readers.source.zip_directory import offsets_of
from pytest_ckpt_compat._readers.state_dict.plain_values import Opaque

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.training_runs import LoggedRun

__all__ = ["Opaque", "fetch", "list_runs", "logged_text", "read", "read_optimizers", "record_offsets"]


def read(path: str | os.PathLike[str], key: str | None = None) -> Structure:
    """Reads the structure of a checkpoint, without reading tensor data or executing anything in the file.

    Args:
        path: the checkpoint: a file, a directory, or a URL (``hf://``, ``https://``, ``s3://``, ...).
        key: dotted path of the state_dict inside it (``"model"``), ``""`` for the top level; None
            searches for it.

    Raises:
        ReadError: the checkpoint cannot be read, or not safely.
        ChoiceError: it holds several of equal rank (a kind of ReadError).
        UnreachableError: the URL cannot be reached at present, or the file is a Git LFS pointer (a kind of
            ReadError).
    """
    name = os.fspath(path)
    with _named(name), garbage_collection_paused():
        return read_any(name, key)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns refusals into errors that name the checkpoint."""
    try:
        yield
    except UnreachableRefusalError as refusal:
        raise UnreachableError(redacted(name), refusal.problem, refusal.advice) from None
    except ChoiceRefusalError as refusal:
        raise ChoiceError(
            redacted(name), refusal.problem, refusal.advice, refusal.equal, refusal.others
        ) from None
    except RefusalError as refusal:
        raise ReadError(redacted(name), refusal.problem, refusal.advice) from None


def fetch(url: str, folder: str | os.PathLike[str]) -> str:
    """Downloads a checkpoint with all its files into an empty folder; returns its path there.

    Raises:
        ReadError: it cannot be downloaded.
        UnreachableError: it cannot be reached at present (a kind of ReadError).
    """
    with _named(url):
        return download(url, os.fspath(folder))


def list_runs(address: str) -> tuple[LoggedRun, ...]:
    """The runs of an experiment, a registered model or a project that have logged a fingerprint.

    Raises:
        ReadError: there is none.
        UnreachableError: the tracker cannot be reached at present (a kind of ReadError).
    """
    with _named(address):
        from pytest_ckpt_compat._readers.source import trackers

        return trackers.list_runs(address)


def logged_text(address: str) -> str:
    """The text of the fingerprint that a training run has logged. Raises as ``list_runs``."""
    with _named(address):
        from pytest_ckpt_compat._readers.source import trackers

        return trackers.logged_text(address)


def read_optimizers(path: str | os.PathLike[str]) -> dict[str, OptimizerState]:
    """Reads the states of the optimizers in a file of ``torch.save``, or in a distributed checkpoint.

    Args:
        path: the file, the directory or its ``.metadata``, or a URL.

    Returns:
        Dotted path inside it ("" for the whole) -> state, the least nested first.

    Raises:
        ReadError: the file cannot be read, or holds no state of an optimizer.
        UnreachableError: as ``read``.
    """
    name = os.fspath(path)
    with _named(name), garbage_collection_paused():
        return optimizers_of(name)


def record_offsets(path: str | os.PathLike[str], records: Iterable[str]) -> dict[str, int]:
    """Record name -> byte offset of its data in the file, needed to load a structure's ``locations``.

    The record ``""`` is the file itself.

    Raises:
        ReadError: a record is missing or compressed.
    """
    name = os.fspath(path)
    with _named(name):
        return offsets_of(name, set(records))
