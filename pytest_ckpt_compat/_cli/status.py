"""``ckpt-compat status``: lists every registered checkpoint and how it stands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_ckpt_compat._core.verdict import Verdict
    from pytest_ckpt_compat._pytest_plugin.collection import Project
    from pytest_ckpt_compat._registry.registration import Registration


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser("status", help="list every registered checkpoint and how it stands")
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Prints the table."""
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    print(in_project(_table))
    return 0


def _table(project: Project) -> str:
    from pytest_ckpt_compat._check.checkpoint import check_registered
    from pytest_ckpt_compat._core.display import visible
    from pytest_ckpt_compat._report import text
    from pytest_ckpt_compat._snapshots import accepted, store

    folder = project.context.folder
    entries = accepted.load(folder)
    rows = [("checkpoint", "file", "snapshot", "loads", "accepted", "verdict")]
    for each in project.registrations:
        result = check_registered(each, project.context)
        rows.append(
            (
                visible(each.id),
                _file(each, folder),
                "yes" if store.exists(folder, store.checkpoint_name(each.id)) else "none",
                _loads(result.verdicts[0]),
                str(sum(entry.id == each.id for entry in entries)),
                "; ".join(text.headline(verdict) for verdict in result.verdicts),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ("   ".join([*map(str.ljust, row[:5], widths), row[5]]).rstrip() for row in rows)
    return "\n".join([*lines, *_unused(project), *project.left_out])


def _unused(project: Project) -> list[str]:
    """Lines on the snapshots that nothing registered uses, where all that is registered is known."""
    from pytest_ckpt_compat._check.checkpoint import used_names
    from pytest_ckpt_compat._check.run import unused_line
    from pytest_ckpt_compat._core.errors import CkptCompatError
    from pytest_ckpt_compat._snapshots import store

    if not project.complete:
        return []
    try:
        used = {name for each in project.registrations for name in used_names(each)}
    except CkptCompatError:  # its row says what is wrong with it
        return []
    folder = project.context.folder
    return [unused_line(folder, name) for name in store.unused(folder, used)]


def _file(registration: Registration, folder: Path) -> str:
    if registration.problem is not None:
        return "unknown"
    if registration.address:
        return "remote"
    from pytest_ckpt_compat._check import snapshots
    from pytest_ckpt_compat._readers.source.files import is_pointer

    if is_pointer(str(registration.path)):
        return "pointer"
    if registration.there:
        return "yes"
    stored = snapshots.stored_of(registration, folder).structure
    return "recorded" if stored is not None and stored.source.recorded else "absent"


def _loads(verdict: Verdict) -> str:
    """Whether the code loads the checkpoint, whatever its snapshot holds."""
    from pytest_ckpt_compat._core.changes import Severity
    from pytest_ckpt_compat._core.rules import BY_KIND

    severities = {change.severity for change in verdict.changes if BY_KIND[change.kind].about == "load"}
    if Severity.ERROR in severities:
        return "no"
    if verdict.new is None or Severity.INCOMPLETE in severities:
        return "unknown"
    return "accepted" if Severity.ACCEPTED in severities else "yes"
