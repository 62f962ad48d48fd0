"""The commands that work on a project's registered checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_ckpt_compat._check import update as recording
from pytest_ckpt_compat._check.checkpoint import Result, check_registered, lost, used_names
from pytest_ckpt_compat._check.snapshots import Context
from pytest_ckpt_compat._core.changes import Severity, Verdict
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.errors import CkptCompatError, UsageError
from pytest_ckpt_compat._core.rules import BY_KIND
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._premerge.merge_base_code import Earlier
from pytest_ckpt_compat._premerge.new_breaks import facts
from pytest_ckpt_compat._pytest_plugin.collection import Project, in_project
from pytest_ckpt_compat._pytest_plugin.completeness import NOT_ALL
from pytest_ckpt_compat._report import overview, summary, text
from pytest_ckpt_compat._snapshots import accepted
from pytest_ckpt_compat._snapshots import folder as snapshots
from pytest_ckpt_compat._snapshots.writing import write


@dataclass(frozen=True)
class Checked:
    """What a check of all registered checkpoints found.

    Attributes:
        results: what came of each, in order of collection.
        lost: verdicts about snapshots of the reference that nothing stands for.
        said: remarks on the whole, a line each.
        label: what was compared with, or "".
    """

    results: tuple[Result, ...]
    lost: tuple[Verdict, ...] = ()
    said: tuple[str, ...] = ()
    label: str = ""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All of them, checkpoints first; of definitions those that say what no checkpoint says."""
        own = [result.verdicts[0] for result in self.results]
        others = [verdict for result in self.results for verdict in result.verdicts[1:]]
        told = [(verdict.new_label, facts(verdict.of(Severity.ERROR))) for verdict in own]
        more = [each for each in others if not _is_told(each, told)]
        found = (*own, *more, *self.lost)
        return tuple({(verdict.name, text.render(verdict, True)): verdict for verdict in found}.values())

    @property
    def counts(self) -> tuple[int, int]:
        """How many checkpoints and tensors were loaded."""
        tensors = [result.tensors for result in self.results if result.tensors is not None]
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


def _is_told(verdict: Verdict, told: Iterable[tuple[str, set[tuple[str, str]]]]) -> bool:
    """Whether a checkpoint of the same definition fails by all that a verdict fails by."""
    errors = facts(verdict.of(Severity.ERROR))
    return bool(errors) and any(label == verdict.new_label and errors <= found for label, found in told)


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
    context = replace(project.context, snapshots_only=snapshots_only)
    if ref is None:
        return _checked(project, context)
    with contextlib.closing(Earlier(git.base_of(project.root, ref, context.folder))) as earlier:
        return _checked(project, replace(context, earlier=earlier))


def _checked(project: Project, context: Context) -> Checked:
    entries, base = accepted.load(context.folder), context.base
    results = tuple(check_registered(each, context) for each in project.registrations)
    said = [f"skipped   {each}: its checkpoints, if it has any, were not checked" for each in project.skipped]
    gone: tuple[Verdict, ...] = ()
    if project.complete:
        try:
            used = {name for each in project.registrations for name in used_names(each)}
        except CkptCompatError as error:
            said.append(f"what is no longer used was not looked for: {error}")
        else:
            gone, renamed = lost(context, used)
            said += renamed
            known = (*map(snapshots.identifier, used), *(each.name for each in gone))
            said += accepted.nobodys(entries, known)
    elif base is not None:
        said.append(NOT_ALL)
    return Checked(results, gone, tuple(said), base.label if base else "")


def update(identifiers: Sequence[str], args: Sequence[str] = ()) -> tuple[list[str], int]:
    """Records missing snapshots, those of definitions, and the frozen ones of the checkpoints named.

    Args:
        identifiers: checkpoints whose frozen snapshots are recorded anew.
        args: more arguments for pytest, which collects.

    Returns:
        What was done, a line each, and the exit code.

    Raises:
        UsageError: a name is no registered checkpoint's; then nothing was written.
        CkptCompatError: the collection failed, or a file cannot be written.
    """
    return in_project(lambda project: _update(project, identifiers), args)


def _update(project: Project, identifiers: Sequence[str]) -> tuple[list[str], int]:
    known = {each.id: None for each in project.registrations}
    strange = next((each for each in identifiers if each not in known), None)
    if strange is not None:
        raise UsageError(
            strange, "is no registered checkpoint; nothing was written", f"known are {', '.join(known)}"
        )
    context = replace(project.context, update=True, rewrite=frozenset(identifiers))
    checked = Checked(tuple(check_registered(each, context) for each in project.registrations))
    writes = {name: text for result in checked.results for name, text in result.writes.items()}
    lines = [line for name in sorted(writes) for line in recording.write(context.folder, name, writes[name])]
    failing = [text.render(verdict) for verdict in checked.verdicts if not verdict.compatible]
    done = lines or ["no snapshot was written" if failing else "every snapshot is up to date"]
    return [*failing, *done], checked.exit_code


def accept(wanted: accepted.Entry, against: str | None = None) -> str:
    """Accepts the failing changes of a checkpoint or definition; returns what was done, in words.

    Raises:
        UsageError: there is nothing of the kind to accept.
        CkptCompatError: a file cannot be read or written; then nothing was written.
    """
    context, verdict = in_project(lambda project: _find(project, wanted.id, against))
    entry, entries = accepted.accept(verdict, accepted.load(context.folder), wanted, context.today)
    write(context.folder / accepted.FILE, accepted.dumps(entries))
    changes = count(len(entry.changes), "change")
    place = f"{context.folder.name}/{accepted.FILE}"
    lines = [f"accepted  {entry.rule} {entry.key} of {entry.id} ({changes}) in {place}"]
    lines += [f"  {change}" for change in entry.changes[:8]]
    if len(entry.changes) > 8:
        lines.append(f"  ... {len(entry.changes) - 8} more")
    return "\n".join(lines)


def _find(project: Project, identifier: str, against: str | None) -> tuple[Context, Verdict]:
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
    return project.context, replace(first, changes=(*first.changes, *changes))


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
                _loads(verdict),
                str(sum(entry.id == each.id for entry in entries)),
                "; ".join(text.headline(each) for each in result.verdicts),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ("   ".join([*map(str.ljust, row[:5], widths), row[5]]).rstrip() for row in rows)
    return "\n".join(lines)


def _loads(verdict: Verdict) -> str:
    """Whether the code loads the checkpoint, whatever its snapshot says to that."""
    severities = {c.severity for c in verdict.changes if BY_KIND[c.kind].about == "load"}
    if Severity.ERROR in severities:
        return "no"
    if verdict.new is None or Severity.INCOMPLETE in severities:
        return "unknown"
    return "accepted" if Severity.ACCEPTED in severities else "yes"
