"""The commands that work on a project's registered checkpoints."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pytest_ckpt_compat import accepted
from pytest_ckpt_compat.changes import Verdict
from pytest_ckpt_compat.collecting import Project, in_project
from pytest_ckpt_compat.errors import UsageError
from pytest_ckpt_compat.registered import check_registered
from pytest_ckpt_compat.text import count
from pytest_ckpt_compat.writing import write


def accept(identifier: str, rule: str, key: str, reason: str, until: date | None) -> str:
    """Accepts the failing changes of a checkpoint or definition; returns what was done, in words.

    Raises:
        UsageError: there is nothing of the kind to accept.
        CkptCompatError: a file cannot be read or written; then nothing was written.
    """
    folder, entries, verdict = in_project(lambda project: _find(project, identifier))
    entry = accepted.accept(verdict, rule, key, reason, until)
    others = [each for each in entries if (each.id, each.rule, each.key) != (entry.id, entry.rule, entry.key)]
    write(folder / accepted.FILE, accepted.dumps([*others, entry]))
    changes = count(len(entry.changes), "change")
    lines = [f"accepted  {rule} {key} of {identifier} ({changes}) in {folder.name}/{accepted.FILE}"]
    lines += [f"  {change}" for change in entry.changes[:8]]
    if len(entry.changes) > 8:
        lines.append(f"  ... {len(entry.changes) - 8} more")
    return "\n".join(lines)


def _find(project: Project, identifier: str) -> tuple[Path, tuple[accepted.Entry, ...], Verdict]:
    folder = project.context.folder
    entries = accepted.load(folder)
    known: dict[str, Verdict] = {}
    for registration in project.registrations:
        for verdict in check_registered(registration, project.context).verdicts:
            known.setdefault(verdict.name, verdict)
        if identifier in known:
            return folder, entries, known[identifier]
    raise UsageError(
        identifier,
        "is no registered checkpoint, and no definition that fails",
        f"known are {', '.join(known)}",
    )
