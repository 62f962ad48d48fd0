"""URLs of checkpoints on other machines."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_url(path: str) -> bool:
    """Whether a path is a URL, such as ``s3://bucket/model.pt``."""
    return _URL.match(path) is not None


def redacted(url: str) -> str:
    """Removes user, password, query and fragment from a URL, so that messages and structures may hold it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
