"""URLs of checkpoints on other machines, and how a message, a report or a file shows them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
#: A URL inside a text, chained ones (``simplecache::https://``) too.
_QUOTED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,3}[^\s\"'<>/][^\s\"'<>]*")


def is_url(path: str) -> bool:
    """Whether a path is a URL, such as ``s3://bucket/model.pt``."""
    return _URL.match(path) is not None


def redacted(path: str) -> str:
    """Removes user, password, query and fragment from a URL; everything that shows one calls this.

    Args:
        path: a URL, or any other path, which stays as it is unless it holds a URL.
    """
    return _bare(path) if is_url(path) else redacted_in(path)


def redacted_in(text: str) -> str:
    """Removes user, password, query and fragment from every URL that a text quotes."""
    return _QUOTED.sub(lambda found: _bare(found[0]), text) if ":/" in text else text


def _bare(url: str) -> str:
    scheme = url.partition(":")[0]
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # a slash in a password makes a part of it look like a port
        return f"{scheme}://"
    if not parts.netloc:  # http:/user:password@host: one slash was forgotten
        path = parts.path.rpartition("@")[2] if ":" in parts.path.rpartition("@")[0] else parts.path
        return f"{scheme}:{path}" if path == parts.path else f"{scheme}:/{path}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
