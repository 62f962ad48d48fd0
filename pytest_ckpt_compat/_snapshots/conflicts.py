"""Conflict markers of git in a file."""

from __future__ import annotations

import re

_MARKER = re.compile(r"^(<{7}|\|{7}|={7}|>{7})", re.MULTILINE)


def line_of_marker(text: str) -> int:
    """The number of the first line with a conflict marker; 0 if there is none."""
    marker = _MARKER.search(text)
    return 0 if marker is None else text.count("\n", 0, marker.start()) + 1


def sides(text: str) -> tuple[str, str]:
    """The text as each of the two sides has it; what diff3 shows of their base is left out."""
    both: tuple[list[str], list[str]] = [], []
    part = ""
    for line in text.splitlines(keepends=True):
        marker = _MARKER.match(line)
        if marker is not None:
            part = "" if marker[1][0] == ">" else marker[1][0]
            continue
        if part in ("", "<"):
            both[0].append(line)
        if part in ("", "="):
            both[1].append(line)
    return "".join(both[0]), "".join(both[1])
