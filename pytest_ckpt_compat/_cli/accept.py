"""``ckpt-compat accept``: accepts breaks that are meant, with a reason."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.display import count, typed
from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._check.context import Context
    from pytest_ckpt_compat._core.verdict import Verdict
    from pytest_ckpt_compat._pytest_plugin.collection import Project
    from pytest_ckpt_compat._registry.registration import Registration
    from pytest_ckpt_compat._snapshots.accepted import Entry

#: Changes of an entry that are printed at most.
_MOST = 8
#: Said of a name that is not known without a reference.
_ONLY_COMPARED = "; a break that only `check --against REF` shows is accepted with `--against REF`"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser("accept", help="accept breaks that are meant, with a reason")
    parser.add_argument(
        "id",
        metavar="ID",
        nargs="+",
        type=typed,
        help='a checkpoint or definition, as the failure names it, or a glob over them ("run-*")',
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--rule", help="its id (CK202) or name (head-resized)")
    chosen.add_argument("--all", action="store_true", help="every rule that fails, an entry for each")
    parser.add_argument(
        "--key",
        default="*",
        type=typed,
        help='a glob over keys ("head.*", "{head,norm}.*"); all keys, if not given',
    )
    parser.add_argument("--reason", required=True, type=typed, help="why; shown in every report")
    parser.add_argument(
        "--until", type=day, metavar="DATE", help="last day on which the break is accepted (2026-12-31)"
    )
    parser.add_argument("--against", metavar="REF", help="the REF that the failing check used")
    parser.set_defaults(run=run)


def day(text: str) -> date:
    """A date as the command line takes it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write it as 2026-12-31") from None


def run(arguments: argparse.Namespace) -> int:
    """Writes the acceptances, all or none, and prints them. What the ids concern is checked once.

    Raises:
        UsageError: there is no such rule; or of one of the ids, or of all that globs find, nothing that
            fails is chosen.
        CkptCompatError: a file cannot be read or written; then nothing was written.
    """
    from pytest_ckpt_compat._check import acceptance
    from pytest_ckpt_compat._core.rules import looked_up
    from pytest_ckpt_compat._pytest_plugin.collection import in_project
    from pytest_ckpt_compat._snapshots import accepted

    if arguments.all and arguments.key != "*":
        raise UsageError("--all", "accepts every key", "leave --key out, or give --rule in its place")
    rule = looked_up(arguments.rule, f"--rule {arguments.rule}").id if arguments.rule else ""
    names = list(dict.fromkeys(arguments.id))
    context, verdicts = in_project(lambda project: _find(project, names, arguments.against))
    entries = accepted.load(context.folder)
    chosen: list[Entry] = []
    left: list[str] = []
    passed: list[UsageError] = []
    for verdict in verdicts:
        wanted = accepted.Entry(verdict.name, rule, arguments.key, arguments.reason, arguments.until)
        named = verdict.name in names
        if arguments.all and verdict.compatible and not acceptance.rules_of(verdict):
            left += [verdict.name] if named else []
            continue
        try:
            if arguments.all:
                chosen += acceptance.accept_all(verdict, entries, wanted, context.today)
            else:
                chosen.append(acceptance.accept(verdict, entries, wanted, context.today))
        except UsageError as error:  # a glob asks for what can be accepted of all that it finds
            if named:
                raise
            passed.append(error)
    if not chosen and passed:
        raise passed[0]
    if not chosen:
        raise UsageError(
            f"accept {' '.join(left or names)}", "has nothing that fails and can be accepted", "leave it out"
        )
    print("\n".join(written(context.folder, chosen)))
    for name in left:
        print(f"nothing of {name} fails: nothing was accepted for it")
    return 0


def written(folder: Path, entries: Sequence[Entry]) -> list[str]:
    """Writes entries; returns what is printed of each.

    Raises:
        SnapshotError: a file cannot be read or written; then nothing was written.
    """
    from pytest_ckpt_compat._snapshots import accepted, accepted_files
    from pytest_ckpt_compat._snapshots.shown import shown_folder

    files = accepted_files.save(folder, entries)
    stored = Counter(each.identity for each in accepted.load(folder))
    lines: list[str] = []
    told: dict[tuple[str, ...], str] = {}
    for entry, file in zip(entries, files, strict=True):
        first = told.setdefault(entry.changes, entry.id)
        number = count(len(entry.changes), "change")
        number = number if first == entry.id else f"the {number} of {first}"
        lines.append(
            f"accepted  {entry.rule} {entry.key} of {entry.id} ({number}) in {shown_folder(folder)}/{file}"
        )
        lines += _changes(entry) if first == entry.id else ()
        same = stored[entry.identity]
        if same > 1:
            lines.append(f"note: {same} entries have this id, rule and key; this one was updated")
    return lines


def _changes(entry: Entry) -> Iterator[str]:
    yield from (f"  {change}" for change in entry.changes[:_MOST])
    if len(entry.changes) > _MOST:
        yield f"  ... {len(entry.changes) - _MOST} more"


def _find(project: Project, names: Sequence[str], ref: str | None) -> tuple[Context, list[Verdict]]:
    """The verdicts that go by these ids; where several go by one, a verdict with the changes of all."""
    from pytest_ckpt_compat._cli.check import check
    from pytest_ckpt_compat._registry import ids

    checked = check(project, ref, only=_concerned(project, names, compared=ref is not None))
    known: dict[str, list[Verdict]] = {}
    verdicts = (verdict for result in checked.results for verdict in result.verdicts)
    for verdict in (*verdicts, *checked.outcome.missing):
        known.setdefault(verdict.name, []).append(verdict)
    there = list(dict.fromkeys((*(each.id for each in project.registrations), *known)))
    meant = ids.meant(names, known)
    for name in meant:
        if name not in known:
            compared = "" if ref else _ONLY_COMPARED
            verb = "matches" if ids.is_glob(name) else "is"
            raise UsageError(
                name,
                f"{verb} neither a registered checkpoint nor a failing definition",
                f"{ids.known_are(name, there)}{compared}",
            )
    return project.context, [joined(known[name]) for name in meant]


def _concerned(project: Project, names: Sequence[str], compared: bool) -> frozenset[str] | None:
    """Ids of the checkpoints whose checks give the verdicts of these names; None where all may be needed."""
    from pytest_ckpt_compat._registry import ids
    from pytest_ckpt_compat._snapshots.accepted import FORWARD

    used = {each.id: _used(each) for each in project.registrations}
    known = {name for all_of_one in used.values() for name in all_of_one}
    named = [name.removesuffix(FORWARD) for name in names]
    wanted = set(ids.meant(named, known))
    if not wanted.issubset(known) or (compared and not known.issuperset(named)):
        return None  # of a comparison, a glob also finds what went since
    return frozenset(key for key, own in used.items() if not wanted.isdisjoint(own))


def _used(registration: Registration) -> frozenset[str]:
    """The id of a checkpoint, and that of its definition where it is known."""
    from pytest_ckpt_compat._check.checkpoint import used_names
    from pytest_ckpt_compat._snapshots import store

    try:
        return frozenset({registration.id, *map(store.identifier, used_names(registration))})
    except Exception:  # its check says what is wrong with it
        return frozenset({registration.id})


def joined(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict with the changes of several, each once."""
    changes = dict.fromkeys(change for each in verdicts for change in each.changes)
    return replace(verdicts[0], changes=tuple(changes))
