"""Reads checkpoint files into structures. The content of a file decides its format, never its name."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pytest_ckpt_compat._core.addresses import redacted
from pytest_ckpt_compat._core.errors import ChoiceError, ReadError, UnreachableError
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.limits import ChoiceRefusalError, RefusalError, UnreachableRefusalError
from pytest_ckpt_compat._readers.sniff import read_any
from pytest_ckpt_compat._readers.source.zip_directory import offsets_of
from pytest_ckpt_compat._readers.state_dict.plain_values import Opaque

__all__ = ["Opaque", "read", "record_offsets"]


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
    try:
        with garbage_collection_paused():
            return read_any(name, key)
    except UnreachableRefusalError as refusal:
        raise UnreachableError(redacted(name), refusal.problem, refusal.advice) from None
    except ChoiceRefusalError as refusal:
        raise ChoiceError(
            redacted(name), refusal.problem, refusal.advice, refusal.equal, refusal.others
        ) from None
    except RefusalError as refusal:
        raise ReadError(redacted(name), refusal.problem, refusal.advice) from None


def record_offsets(path: str | os.PathLike[str], records: Iterable[str]) -> dict[str, int]:
    """Record name -> byte offset of its data in the file, needed to load a structure's ``locations``.

    The record ``""`` is the file itself.

    Raises:
        ReadError: a record is missing or compressed.
    """
    name = os.fspath(path)
    try:
        return offsets_of(name, set(records))
    except RefusalError as refusal:
        raise ReadError(redacted(name), refusal.problem, refusal.advice) from None
