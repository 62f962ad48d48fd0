"""The report as GitHub annotations, on the line that all breaks are about, or that of the class.

Checkpoints of which the same is to be said share one, as in the text report.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._report import alike
from pytest_ckpt_compat._report.findings import of_entry
from pytest_ckpt_compat._report.summary import Entry, Run, State

#: GitHub shows ten annotations of a level for each step and silently drops the rest.
_MOST = 9
_LEVELS: dict[State, str] = {
    "broken": "error",
    "unknown": "error",
    "before": "notice",
    "warning": "warning",
}


def render(run: Run, workspace: str = "") -> list[str]:
    """The workflow commands that make the annotations, one line each, fewer than ten of each level.

    Args:
        run: what to report.
        workspace: the folder that file names are relative to, or "" for names as they are.
    """
    lines: list[str] = []
    if run.migrations.repairs:
        lines.append(remark("notice", run.migrations.repairs))
    if run.settings:
        lines.append(remark("notice", "; ".join(run.settings)))
    for level in ("error", "warning", "notice"):
        found = [each for each in run.entries if _LEVELS.get(each.state) == level]
        groups = alike.groups(found)
        shown = groups if len(groups) <= _MOST else groups[: _MOST - 1]
        lines += [_command(level, each, workspace) for each in shown]
        hidden = [each for group in groups[len(shown) :] for each in group]
        if hidden:
            names = ", ".join(visible(each.id) for each in hidden)
            lines.append(remark(level, f"{len(hidden)} more: {names}"))
    return lines


def remark(level: str, text: str) -> str:
    """The workflow command for an annotation of no file."""
    return f"::{level} title={_property('checkpoint compatibility')}::{_data(text)}"


def _command(level: str, group: Sequence[Entry], workspace: str) -> str:
    """The workflow command for the annotation of entries of which the same is to be said."""
    entry = group[0]
    properties = [f"title={_property(visible(alike.title(group)) + ' checkpoint compatibility')}"]
    about = {each.where for each in of_entry(entry.findings) if each.open}
    for where in (*(about if len(about) == 1 else ()), entry.where):
        file, _, line = where.rpartition(":")
        if not file or not line.isdigit():
            continue
        path = os.path.relpath(Path(file).resolve(), Path(workspace).resolve()) if workspace else file
        if not path.startswith(".."):
            properties = [f"file={_property(path.replace(os.sep, '/'))}", f"line={line}", *properties]
            break
    text = alike.block(group) if level == "error" else alike.headline(group)
    return f"::{level} {','.join(properties)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
