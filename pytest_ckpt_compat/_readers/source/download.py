"""Downloads a checkpoint behind a URL as a whole, for a load of its weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.source.folders import plain_name
from pytest_ckpt_compat._readers.source.remote import RemoteFolder, with_system

_UNNAMED = "checkpoint"
_SECONDS = 60


def download(url: str, folder: str, parts: Callable[[str], tuple[str, ...]]) -> str:
    """Downloads the file behind a URL, and those that belong to it, into a folder. Returns its path there.

    Args:
        url: the URL.
        folder: an empty folder.
        parts: gives the names of the files that belong to a downloaded one and lie beside it.
    """
    name = _UNNAMED
    with suppress(RefusalError):
        name = plain_name(unquote(urlsplit(url).path.rpartition("/")[2]))
    path = os.path.join(folder, name)
    _fetch(url, path)
    remote = RemoteFolder(url)
    for each in parts(path):
        _fetch(remote.url_of(each), os.path.join(folder, plain_name(each)))
    return path


def _fetch(url: str, path: str) -> None:
    with_system(url, _http_options, lambda system, inside: system.get_file(inside, path))


def _http_options() -> dict[str, Any]:
    """Options that limit how long a server may be silent, but not how long a whole file may take."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_SECONDS)
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}}
