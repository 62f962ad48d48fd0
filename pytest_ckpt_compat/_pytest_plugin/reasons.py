"""Why a file could not be collected, in one line: the error, and the line of the project that met it."""

from __future__ import annotations

import os
import re
from itertools import takewhile
from pathlib import Path

#: Where Python found an error of syntax, as pytest shows it, and what such errors are called.
_PLACE = re.compile(r'^E\s+File "(.+)", line (\d+)', re.MULTILINE)
_SYNTAX = ("SyntaxError", "IndentationError", "TabError")
#: A frame of a traceback, as pytest shows it with ``--tb=short``.
_FRAME = re.compile(r"^(\S.*\.py):(\d+): in ", re.MULTILINE)
#: Folders of what is installed, which may be below a project's.
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def reason(traceback: str, root: Path, node: str = "") -> str:
    """The error that a traceback ends in, behind the file that was collected and the place of the error.

    The place is the innermost line of the project; of an error of syntax, which no frame has, its own.

    Args:
        traceback: as pytest prints it with ``--tb=short``.
        root: the project's root folder.
        node: the node that was collected, below ``root``; "" for none.
    """
    last = _error(traceback.strip().splitlines())
    syntax = last.startswith(_SYNTAX)
    places = [_shown(file, line, root) for file, line in (_PLACE if syntax else _FRAME).findall(traceback)]
    place = next((each for each in reversed(places) if each), "")
    if syntax and not place and (found := _PLACE.findall(traceback)):
        place = ":".join(found[-1])
    known = [place] if node and place.startswith(f"{node}:") else [node, place]
    return ": ".join(filter(None, (*known, last)))


def of_conftest(output: str, root: Path) -> str:
    """The same of a conftest.py that cannot be imported, which ends pytest; "" where that is not so."""
    _, found, traceback = output.partition("ImportError while loading conftest ")
    lines = traceback.strip().splitlines()
    while lines and not lines[-1].startswith("E "):
        lines.pop()
    return reason("\n".join(lines), root) if found and lines else ""


def _error(lines: list[str]) -> str:
    """The first line of the error that a traceback ends in; of an error of syntax, that below the code."""
    last = lines[-1].removeprefix("E ").strip() if lines else "failed"
    if last.startswith(_SYNTAX):
        return last
    block = list(takewhile(lambda line: line.startswith("E  "), reversed(lines)))
    return block[-1].removeprefix("E ").strip() if block else last


def _shown(file: str, line: str, root: Path) -> str:
    """A place as seen from the root folder; "" where it is none of the project's."""
    path = Path(os.path.abspath(file))  # pytest shows it from the folder in which it was started
    if not path.is_relative_to(root) or not _INSTALLED.isdisjoint(path.parts):
        return ""
    return f"{path.relative_to(root).as_posix()}:{line}"
