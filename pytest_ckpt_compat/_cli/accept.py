"""``ckpt-compat accept``: accepts a break that is meant, with a reason."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._check.context import Context
    from pytest_ckpt_compat._core.verdict import Verdict
    from pytest_ckpt_compat._pytest_plugin.collection import Project
    from pytest_ckpt_compat._snapshots.accepted import Entry

#: Changes of an entry that are printed at most.
_MOST = 8


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser("accept", help="accept a break that is meant, with a reason")
    parser.add_argument("id", metavar="ID", help="the checkpoint or definition, as the failure names it")
    parser.add_argument("--rule", required=True, help="rule id (CK202)")
    parser.add_argument("--key", default="*", help='a glob over keys ("head.*"); all keys, if not given')
    parser.add_argument("--reason", required=True, help="why; shown in every report")
    parser.add_argument(
        "--until", type=_date, metavar="DATE", help="last day on which the break is accepted (2026-12-31)"
    )
    parser.add_argument("--against", metavar="REF", help="the REF that the failing check used")
    parser.set_defaults(run=run)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write it as 2026-12-31") from None


def run(arguments: argparse.Namespace) -> int:
    """Writes the acceptance and prints it.

    Raises:
        UsageError: nothing that fails is chosen.
        CkptCompatError: a file cannot be read or written; then nothing was written.
    """
    from pytest_ckpt_compat._check import acceptance
    from pytest_ckpt_compat._pytest_plugin.collection import in_project
    from pytest_ckpt_compat._snapshots import accepted, accepted_edit

    wanted = accepted.Entry(arguments.id, arguments.rule, arguments.key, arguments.reason, arguments.until)
    context, verdict = in_project(lambda project: _find(project, wanted.id, arguments.against))
    entries = accepted.load(context.folder)
    entry = acceptance.accept(verdict, entries, wanted, context.today)
    accepted_edit.save(context.folder, entry)
    file = f"{context.folder.name}/{accepted.FILE}"
    lines = _lines(entry, file)
    same = [each for each in entries if each.identity == entry.identity]
    if len(same) > 1:
        lines.append(f"note: {file} has {len(same)} entries of this id, rule and key; the first was updated")
    print("\n".join(lines))
    return 0


def _lines(entry: Entry, file: str) -> list[str]:
    changes = count(len(entry.changes), "change")
    lines = [f"accepted  {entry.rule} {entry.key} of {entry.id} ({changes}) in {file}"]
    lines += [f"  {change}" for change in entry.changes[:_MOST]]
    if len(entry.changes) > _MOST:
        lines.append(f"  ... {len(entry.changes) - _MOST} more")
    return lines


def _find(project: Project, identifier: str, ref: str | None) -> tuple[Context, Verdict]:
    """The verdict that goes by an id; of several, one with the changes of all."""
    from pytest_ckpt_compat._cli.check import check

    checked = check(project, ref)
    known: dict[str, list[Verdict]] = {}
    verdicts = (verdict for result in checked.results for verdict in result.verdicts)
    for verdict in (*verdicts, *checked.outcome.missing):
        known.setdefault(verdict.name, []).append(verdict)
    if identifier not in known:
        raise UsageError(
            identifier,
            "is neither a registered checkpoint nor a failing definition",
            f"known are {', '.join(known)}; a break that only `check --against REF` shows is accepted with "
            "`--against REF`",
        )
    first, *others = known[identifier]
    changes = dict.fromkeys(change for each in (first, *others) for change in each.changes)
    return project.context, replace(first, changes=tuple(changes))
