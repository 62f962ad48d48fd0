"""Addresses of checkpoints that are not on this machine."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_url(path: str) -> bool:
    """Whether a path names something that is not on this machine."""
    return _URL.match(path) is not None


def shown(url: str) -> str:
    """A URL without user, password, query and fragment: what messages and structures may hold."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
