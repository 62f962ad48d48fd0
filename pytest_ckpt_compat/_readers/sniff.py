"""Detects the format of a checkpoint from its first bytes, and calls the reader of that format.

The readers of rarer formats are imported only for a file that is neither torch nor safetensors.
"""

from __future__ import annotations

import os

from pytest_ckpt_compat._core.addresses import is_url
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.formats.foreign import unsupported
from pytest_ckpt_compat._readers.formats.single_file import HEAD, read_single
from pytest_ckpt_compat._readers.limits import Budget, RefusalError
from pytest_ckpt_compat._readers.source.files import Blob, open_blob
from pytest_ckpt_compat._readers.source.folders import Folder, LocalFolder
from pytest_ckpt_compat._readers.state_dict.adapters import WEIGHTS, with_config

_PART = ".distcp"


def read_any(path: str, key: str | None) -> Structure:
    """Reads a checkpoint of any format: a file, a directory or a URL. Raises RefusalError."""
    if is_url(path):
        from pytest_ckpt_compat._readers.source.remote import RemoteFolder, open_url

        with open_url(path) as blob:
            return read_file(blob, RemoteFolder(path), key)
    if _is_directory(path):
        from pytest_ckpt_compat._readers.formats.directories import read_directory

        return read_directory(LocalFolder(path), key, Budget())
    with open_blob(path) as blob:
        return read_file(blob, LocalFolder(os.path.dirname(path)), key)


def read_file(blob: Blob, folder: Folder, key: str | None) -> Structure:
    """Reads a file, and the files of ``folder`` that it names. Raises RefusalError."""
    name = os.path.basename(blob.path.partition("?")[0])
    if name.endswith(_PART):  # a part does not say by itself what it is
        raise RefusalError(
            "it is one part of a distributed checkpoint", "give its directory, or the file .metadata in it"
        )
    budget = Budget()
    head = blob.head(HEAD)
    found = read_single(blob, head, key, budget)
    if found is None:
        return _read_rarer(blob, head, folder, key, budget)
    return with_config(found, folder) if name in WEIGHTS else found


def _read_rarer(blob: Blob, head: bytes, folder: Folder, key: str | None, budget: Budget) -> Structure:
    from pytest_ckpt_compat._readers.formats import dcp, gguf, nemo, onnx
    from pytest_ckpt_compat._readers.formats.shards import read_index

    found = nemo.read_nemo(blob, head, key, budget)
    if head.startswith(gguf.MAGIC):
        return gguf.read_gguf(blob, key)
    if dcp.looks_like(head):
        return dcp.read_dcp(blob, folder, key, budget)
    if onnx.looks_like(head):
        return onnx.read_onnx(blob, key)
    if head.lstrip()[:1] == b"{":
        found = read_index(blob, folder, key, budget)
    if found is None:
        raise unsupported(blob, head)
    return found


def _is_directory(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:
        return False
