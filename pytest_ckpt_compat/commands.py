"""The commands that work on a project's registered checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from pytest_ckpt_compat import accepted, git, snapshots
from pytest_ckpt_compat.against import lost as lost_since
from pytest_ckpt_compat.changes import Verdict
from pytest_ckpt_compat.collecting import Project, in_project
from pytest_ckpt_compat.errors import CkptCompatError, UsageError
from pytest_ckpt_compat.registered import Result, check_registered, used_names, with_commands
from pytest_ckpt_compat.report import overview, summary, text
from pytest_ckpt_compat.text import count, visible
from pytest_ckpt_compat.writing import write


@dataclass(frozen=True)
class Checked:
    """What a check of all registered checkpoints found.

    Attributes:
        results: id -> what came of it, in order of collection.
        lost: verdicts about snapshots of the reference that nothing stands for.
        said: remarks on the whole, a line each.
        label: what was compared with, or "".
    """

    results: Mapping[str, Result]
    lost: tuple[Verdict, ...] = ()
    said: tuple[str, ...] = ()
    label: str = ""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All of them; that of a definition once, however many checkpoints it has."""
        found = [verdict for result in self.results.values() for verdict in result.verdicts]
        ids = set(self.results)
        own = {verdict.name: verdict for verdict in reversed(found) if verdict.name not in ids}
        return (*(v for v in found if v.name in ids), *reversed(own.values()), *self.lost)

    @property
    def counts(self) -> tuple[int, int]:
        """How many checkpoints and tensors were loaded."""
        tensors = [result.tensors for result in self.results.values() if result.tensors is not None]
        return len(tensors), sum(tensors)

    def run(self) -> summary.Run:
        """For reports."""
        entries = summary.unique(summary.entry(verdict) for verdict in self.verdicts)
        return summary.Run(entries, overview.compared(self.counts, self.label), self.label)

    @property
    def exit_code(self) -> int:
        """1 if something breaks, 2 if something could not be checked or nothing was, else 0."""
        codes = {verdict.exit_code for verdict in self.verdicts}
        return 1 if 1 in codes else 2 if 2 in codes or not self.counts[0] else 0


def check(against: str | None, args: Sequence[str] = (), snapshots_only: bool = False) -> Checked:
    """Checks every registered checkpoint, with a git reference if one is given.

    Args:
        against: the reference.
        args: more arguments for pytest, which collects.
        snapshots_only: whether no checkpoint is opened that has a snapshot.

    Raises:
        CkptCompatError: the collection failed, or the reference is not known.
    """
    return in_project(lambda project: _check(project, against, snapshots_only), args)


def _check(project: Project, ref: str | None, snapshots_only: bool = False) -> Checked:
    base = git.merge_base(project.root, ref) if ref else None
    context = replace(project.context, base=base, snapshots_only=snapshots_only)
    results = {each.id: check_registered(each, context) for each in project.registrations}
    if base is None:
        return Checked(results)
    lost: tuple[Verdict, ...] = ()
    said: tuple[str, ...] = ()
    try:
        used = [name for each in project.registrations for name in used_names(each)]
    except CkptCompatError as error:
        said = (f"snapshots that are no longer used were not looked for: {error}",)
    else:
        entries = accepted.load(context.folder)
        found, said = lost_since(base, context.folder, used)
        lost = tuple(accepted.apply([each], entries, context.today, ())[0] for each in found)
    return Checked(results, tuple(map(with_commands, lost)), said, base.label)


def accept(
    identifier: str, rule: str, key: str, reason: str, until: date | None, against: str | None = None
) -> str:
    """Accepts the failing changes of a checkpoint or definition; returns what was done, in words.

    Raises:
        UsageError: there is nothing of the kind to accept.
        CkptCompatError: a file cannot be read or written; then nothing was written.
    """
    folder, entries, verdict = in_project(lambda project: _find(project, identifier, against))
    entry = accepted.accept(verdict, rule, key, reason, until)
    others = [each for each in entries if (each.id, each.rule, each.key) != (entry.id, entry.rule, entry.key)]
    write(folder / accepted.FILE, accepted.dumps([*others, entry]))
    changes = count(len(entry.changes), "change")
    lines = [f"accepted  {rule} {key} of {identifier} ({changes}) in {folder.name}/{accepted.FILE}"]
    lines += [f"  {change}" for change in entry.changes[:8]]
    if len(entry.changes) > 8:
        lines.append(f"  ... {len(entry.changes) - 8} more")
    return "\n".join(lines)


def _find(
    project: Project, identifier: str, against: str | None
) -> tuple[Path, tuple[accepted.Entry, ...], Verdict]:
    entries = accepted.load(project.context.folder)
    known: dict[str, list[Verdict]] = {}
    for verdict in _check(project, against).verdicts:
        known.setdefault(verdict.name, []).append(verdict)
    if identifier not in known:
        raise UsageError(
            identifier,
            "is no registered checkpoint, and no definition that fails",
            f"known are {', '.join(known)}; what fails with --against is accepted with --against",
        )
    first, *others = known[identifier]
    changes = [change for each in others for change in each.changes]
    return project.context.folder, entries, replace(first, changes=(*first.changes, *changes))


def status() -> str:
    """A table of the registered checkpoints: what is there, and what their check says.

    Raises:
        CkptCompatError: the collection failed.
    """
    return in_project(_status)


def _status(project: Project) -> str:
    folder = project.context.folder
    entries = accepted.load(folder)
    rows = [("checkpoint", "file", "snapshot", "loads", "accepted", "verdict")]
    for each in project.registrations:
        result = check_registered(each, project.context)
        verdict = result.verdicts[0]
        there = (folder / snapshots.checkpoint_name(each.id)).exists()
        rows.append(
            (
                visible(each.id),
                "remote" if each.address else "yes" if each.path.exists() else "absent",
                "yes" if there else "none",
                {0: "yes", 1: "no"}.get(verdict.exit_code, "unknown"),
                str(sum(entry.id == each.id for entry in entries)),
                "; ".join(text.headline(each) for each in result.verdicts),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ("   ".join([*map(str.ljust, row[:5], widths), row[5]]).rstrip() for row in rows)
    return "\n".join(lines)
