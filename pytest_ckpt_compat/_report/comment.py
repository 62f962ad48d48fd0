"""The one comment on a pull request: its text, from a run's JSON report."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._report import markdown
from pytest_ckpt_compat._report.json import SCHEMA
from pytest_ckpt_compat._report.migrations import Migrations
from pytest_ckpt_compat._report.summary import Entry, Run

#: Characters that GitHub accepts in a comment.
LIMIT = 65_536
#: What a comment says first when all is mended.
AGAIN = "All checkpoints are compatible again."
#: What it says where there is no report.
NO_REPORT = (
    "The check ended before it wrote its report, so nothing is known about the checkpoints; see the log."
)
_REDO = "write it with ckpt-compat check --report FILE.json"


def marker(name: str) -> str:
    """The hidden first line by which the comment of a project is found again.

    Args:
        name: tells the projects of a repository apart; "" where there is one.
    """
    plain = posixpath.normpath(name) if name else "."
    inside = f" {quote(plain, safe='/.').replace('-', '%2D')}" if plain != "." else ""
    return f"<!-- ckpt-compat{inside} -->"


def loads(text: str, shown: str) -> Run:
    """The run in a JSON report, as far as a comment needs it.

    Raises:
        ReadError: it is not such a report.
    """
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ReadError(shown, f"is of schema {data['schema']!r}, this is {SCHEMA}", _REDO)
        return Run(
            tuple(map(_entry, data["checkpoints"])),
            str(data["compared"]),
            str(data["against"] or ""),
            _migrations(data["migrations"]),
            tuple(map(str, data["failures"])),
            tuple(map(str, data["settings"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError(shown, "is not a report on all checkpoints", _REDO) from error


def calls_for_comment(run: Run | None) -> bool:
    """Whether something breaks or is unknown, so that a comment is posted where there is none."""
    return run is None or not run.checked or bool(run.of("broken"))


def body(run: Run | None, name: str, footer: str) -> str:
    """The text of the comment, no longer than GitHub accepts.

    Args:
        run: what was found, or None where there is no report.
        name: as ``marker`` takes it.
        footer: its last line, Markdown, or "".
    """
    first, last = marker(name), f"\n{footer}\n" if footer else ""
    if run is None:
        return f"{first}\n## Checkpoint compatibility\n\n❓ {NO_REPORT}\n{last}"
    state = "" if calls_for_comment(run) else f"✅ {AGAIN}\n\n"
    told = "".join(f"- {markdown.cell(line)}\n" for line in run.failures)
    around = f"{first}\n{state}{told}{last}"
    return f"{first}\n{state}{markdown.render(run, LIMIT - len(around.encode()) - 1)}{told}{last}"


def _entry(data: Mapping[str, Any]) -> Entry:
    known = {"by_settings": [str(each) for each in data.get("by_settings", ())]}
    return Entry(str(data["id"]), data["state"], str(data["headline"]), str(data["text"]), data=known)


def _migrations(data: Mapping[str, Any]) -> Migrations:
    repaired = {str(name): tuple(map(str, ids)) for name, ids in data["repaired"].items()}
    lists = (tuple(map(str, data.get(name, ()))) for name in ("broken", "unused", "accepted"))
    broken, unused, accepted = lists
    return Migrations(broken, repaired, unused, accepted)
