"""The one comment on a pull request: its text, from a run."""

from __future__ import annotations

import posixpath
from urllib.parse import quote

from pytest_ckpt_compat._report import markdown
from pytest_ckpt_compat._report.summary import Run

#: Characters that GitHub accepts in a comment.
LIMIT = 65_536
#: What a comment says first when all is mended.
AGAIN = "All checkpoints are compatible again."
#: What it says where there is no report.
NO_REPORT = (
    "The check ended before it wrote its report, so nothing is known about the checkpoints; see the log."
)


def marker(name: str, job: str = "") -> str:
    """The hidden first line by which the comment of a project and a job is found again.

    Args:
        name: tells the projects of a repository apart; "" where there is one.
        job: tells the jobs apart that check it, so that none writes over what another found.
    """
    plain = posixpath.normpath(name) if name else "."
    parts = ([plain] if plain != "." else []) + ([f"job {job}"] if job else [])
    inside = "".join(f" {quote(each, safe='/.').replace('-', '%2D')}" for each in parts)
    return f"<!-- ckpt-compat{inside} -->"


def calls_for_comment(run: Run | None) -> bool:
    """Whether something breaks or is unknown, so that a comment is posted where there is none."""
    return run is None or not run.checked or bool(run.of("broken"))


def body(run: Run | None, name: str, footer: str, job: str = "") -> str:
    """The text of the comment, no longer than GitHub accepts.

    Args:
        run: what was found, or None where there is no report.
        name: as ``marker`` takes it.
        footer: its last line, Markdown, or "".
        job: as ``marker`` takes it.
    """
    first, last = marker(name, job), f"\n{footer}\n" if footer else ""
    if run is None:
        return f"{first}\n## Checkpoint compatibility\n\n❓ {NO_REPORT}\n{last}"
    state = "" if calls_for_comment(run) else f"✅ {AGAIN}\n\n"
    around = f"{first}\n{state}{last}"
    return f"{first}\n{state}{markdown.render(run, LIMIT - len(around.encode()) - 1)}{last}"
