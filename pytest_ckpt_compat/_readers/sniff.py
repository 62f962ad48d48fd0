"""Detects the format of a checkpoint from its first bytes, and calls the reader of that format.

The readers of rarer formats are imported only for a file that is neither torch nor safetensors.
"""

from __future__ import annotations

import os
from dataclasses import replace

from pytest_ckpt_compat._core.addresses import is_url, redacted
from pytest_ckpt_compat._core.structure import OptimizerState, Structure
from pytest_ckpt_compat._readers.formats.single_file import HEAD, load_single, read_single
from pytest_ckpt_compat._readers.limits import Budget, RefusalError, UnreachableRefusalError
from pytest_ckpt_compat._readers.source.files import Blob, open_blob
from pytest_ckpt_compat._readers.source.folders import Folder, LocalFolder
from pytest_ckpt_compat._readers.state_dict.adapters import WEIGHTS, with_config
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded

_PART = ".distcp"


def read_any(path: str, key: str | None) -> Structure:
    """Reads a checkpoint of any format: a file, a directory or a URL. Raises RefusalError."""
    if is_url(path):
        return _read_url(path, key)
    if _is_directory(path):
        from pytest_ckpt_compat._readers.formats.directories import read_directory

        return read_directory(LocalFolder(path), key, Budget())
    with open_blob(path) as blob:
        return read_file(blob, LocalFolder(os.path.dirname(path)), key)


def _read_url(url: str, key: str | None) -> Structure:
    """Reads a checkpoint at an address; one of the Hub from its cache, where the Hub cannot be reached."""
    from pytest_ckpt_compat._readers.source import hub
    from pytest_ckpt_compat._readers.source.remote import RemoteFolder, open_url

    folder = hub.hub_folder(url)
    try:
        if folder is not None:
            from pytest_ckpt_compat._readers.formats.directories import read_directory

            return read_directory(folder, key, Budget())
        with open_url(url) as blob:
            return read_file(blob, RemoteFolder(url), key)
    except UnreachableRefusalError:
        local = hub.cached(url)
        if not local:
            raise
    found = read_any(local, key)
    return replace(found, source=replace(found.source, path=redacted(url)))


def download(url: str, folder: str) -> str:
    """Downloads the checkpoint behind a URL into a folder; returns the path of its file there."""
    from pytest_ckpt_compat._readers.formats.directories import main_file
    from pytest_ckpt_compat._readers.source import hub
    from pytest_ckpt_compat._readers.source.download import download as fetch

    remote = hub.hub_folder(url)
    try:
        if remote is None:
            return fetch(url, folder, _parts_of)
        names = remote.names()
        for name in (main_file(names), *({"config.json"} & names)):
            fetch(remote.url_of(name), folder, _parts_of)
    except UnreachableRefusalError:
        local = hub.cached(url)
        if not local:
            raise
        return local
    return folder


def _parts_of(path: str) -> tuple[str, ...]:
    """Names of the files that a file describes: shards, or the data of a distributed checkpoint."""
    from pytest_ckpt_compat._readers.formats import dcp, shards

    with open_blob(path) as blob:
        head = blob.head(HEAD)
        if dcp.looks_like(head):
            return dcp.files_of(blob)
        return shards.files_of(blob) if head.lstrip()[:1] == b"{" else ()


def optimizers_of(path: str) -> dict[str, OptimizerState]:
    """Reads the states of the optimizers in a file of ``torch.save`` or a distributed checkpoint."""
    from pytest_ckpt_compat._readers.formats.dcp import METADATA
    from pytest_ckpt_compat._readers.state_dict.optimizers import optimizer_states

    if is_url(path):
        from pytest_ckpt_compat._readers.source.remote import RemoteFolder, open_url

        with open_url(path) as blob:
            loaded = _load(blob, RemoteFolder(path))
    else:
        directory = _is_directory(path)
        file = os.path.join(path, METADATA) if directory else path
        if directory and not os.path.exists(file):
            raise RefusalError("it is a directory without a distributed checkpoint", "give the file in it")
        with open_blob(file) as blob:
            loaded = _load(blob, LocalFolder(os.path.dirname(file)))
    found = optimizer_states(loaded.value)
    if not found:
        raise RefusalError("it holds no state of an optimizer", "save optimizer.state_dict() with torch.save")
    return found


def _load(blob: Blob, folder: Folder) -> Loaded:
    from pytest_ckpt_compat._readers.formats import dcp

    if dcp.looks_like(blob.head(HEAD)):
        return dcp.load_dcp(blob, folder, Budget())
    return load_single(blob, Budget())


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
        from pytest_ckpt_compat._readers.formats.foreign import unsupported

        raise unsupported(blob, head)
    return found


def _is_directory(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:
        return False
