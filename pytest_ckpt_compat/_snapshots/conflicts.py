"""Conflict markers of git in a file."""

from __future__ import annotations

import re

_MARKER = re.compile(r"^(<{7}|\|{7}|={7}|>{7})", re.MULTILINE)


def line_of_marker(text: str) -> int:
    """The number of the first line with a conflict marker; 0 if there is none."""
    marker = _MARKER.search(text)
    return 0 if marker is None else text.count("\n", 0, marker.start()) + 1
