"""Bytes to structures, one module a format; the format is found from the content, never the name."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pytest_ckpt_compat._core.addresses import is_url, shown
from pytest_ckpt_compat._core.errors import ReadError, UnreachableError
from pytest_ckpt_compat._core.garbage import collector_paused
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.limits import RefusalError, UnreachableRefusalError
from pytest_ckpt_compat._readers.sniff import read_any
from pytest_ckpt_compat._readers.source.zip_directory import offsets_of
from pytest_ckpt_compat._readers.state_dict.plain import Opaque

__all__ = ["Opaque", "read", "record_offsets"]


def read(path: str | os.PathLike[str], key: str | None = None) -> Structure:
    """The structure of a checkpoint. No tensor is read, nothing in the file is executed.

    Args:
        path: the checkpoint: a file, a directory, or a URL (``hf://``, ``https://``, ``s3://``, ...).
        key: dotted path of the state_dict in it (``"model"``); found by structure if None, and
            ``""`` for the top.

    Raises ReadError for anything that cannot be read, or read safely; UnreachableError, which is one,
    for a URL behind which nothing can be had at present.
    """
    name = os.fspath(path)
    try:
        with collector_paused():
            return read_any(name, key)
    except UnreachableRefusalError as refusal:
        raise UnreachableError(shown(name), refusal.problem, refusal.advice) from None
    except RefusalError as refusal:
        raise ReadError(shown(name) if is_url(name) else name, refusal.problem, refusal.advice) from None


def record_offsets(path: str | os.PathLike[str], records: Iterable[str]) -> dict[str, int]:
    """Record name -> where its first byte lies in the file, for a later load of ``locations``.

    The record ``""`` is the file itself. Raises ReadError for one that is missing or packed.
    """
    name = os.fspath(path)
    try:
        return offsets_of(name, set(records))
    except RefusalError as refusal:
        raise ReadError(shown(name) if is_url(name) else name, refusal.problem, refusal.advice) from None
