"""Concludes a run of pytest or of the command line."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ckpt_compat._check import acceptance, update, written
from pytest_ckpt_compat._check.checkpoint import with_commands
from pytest_ckpt_compat._check.context import Context
from pytest_ckpt_compat._check.contribution import Contribution
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.internal import in_a_line
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._registry import ids as ids_of
from pytest_ckpt_compat._report import migrations as migrations_report
from pytest_ckpt_compat._report import of_run, overview, summary
from pytest_ckpt_compat._report.migrations import Migrations
from pytest_ckpt_compat._snapshots import accepted, accepted_files, store

#: Exit codes of pytest.
_TESTS_FAILED, _USAGE_ERROR = 1, 4
#: The remark on a comparison that did not cover the whole project.
NOT_ALL = "did not look for unregistered checkpoints: the run did not cover the whole project"


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        entries: every verdict, once.
        counts: how many checkpoints and how many tensors were loaded.
        label: the merge base that was compared with, or "".
        missing: verdicts about snapshots of the merge base that nothing uses any more.
        lines: what was written, removed, unused or remarked, a line each.
        refused: whether nothing was written because an id is not registered.
        failed: whether something could not be read or written at the end.
        migrations: what the registered migrations came to.
        settings: a line on each rule that has another severity here than at the merge base.
        registered: ids of the checkpoints.
        deselected: ids of those that were collected, and are not among them.
    """

    entries: tuple[summary.Entry, ...] = ()
    counts: tuple[int, int] = (0, 0)
    label: str = ""
    missing: tuple[Verdict, ...] = ()
    lines: tuple[str, ...] = ()
    refused: bool = False
    failed: bool = False
    migrations: Migrations = field(default_factory=Migrations)
    settings: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()
    deselected: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if a checkpoint breaks, 2 if one could not be checked or none was, else 0: as diff(1) has it."""
        states = {each.state for each in self.entries}
        if "broken" in states:
            return 1
        return 2 if "unknown" in states or not self.counts[0] or self.refused or self.failed else 0

    def exit_code_of_pytest(self, own: int, compared: bool) -> int:
        """Pytest's own exit code, but for a run that would pass though something is unknown or unwritten.

        Args:
            own: what pytest would exit with.
            compared: whether the run is compared with a merge base.
        """
        if self.refused:
            return _USAGE_ERROR
        missing = any(not verdict.compatible for verdict in self.missing)
        unsure = self.failed or missing or (compared and not self.counts[0])
        return _TESTS_FAILED if own == 0 and unsure else own

    @property
    def report(self) -> summary.Run:
        """The run as reports take it."""
        compared = overview.compared(self.counts, self.label)
        failures = tuple(line for line in self.lines if line.startswith("failed "))
        return summary.Run(
            self.entries,
            compared,
            self.label,
            self.migrations,
            failures=failures,
            settings=self.settings,
            registered=self.registered,
            deselected=self.deselected,
        )


def conclude(
    contributions: Sequence[Contribution],
    context: Context,
    complete: bool,
    prune: bool | None = None,
    full: bool = False,
) -> Outcome:
    """Writes the snapshots that a run has to write, looks for those that nothing uses, and sums up.

    Args:
        contributions: of every check, in order.
        context: of the run.
        complete: whether the run covered every registered checkpoint of the project.
        prune: whether unused snapshots are removed; None if they are not looked for.
        full: whether the lines about a snapshot list every key instead of folding.
    """
    lines: list[str] = []
    missing: tuple[Verdict, ...] = ()
    severities: tuple[str, ...] = ()
    refused = failed = False
    used, ids, gap = _names(contributions)
    complete = complete and not any(each.partial for each in contributions)
    whole = complete and not gap
    try:
        severities = _severities(context)
        require_registered(context.rewrite, ids)
        before = set(store.names(context.folder))
        lines, failed = _write(contributions, context, full)
        if context.update and whole:
            lines += _replaced(context.folder, used, before)
        if prune is not None:
            lines += _unused(context, used, whole, prune, gap)
        if whole:
            entries = accepted.load(context.folder)
            missing, renamed = _missing(context, used, entries)
            known = {*ids, *map(store.identifier, used), *(each.name for each in missing)}
            lines += [*renamed, *_acceptances(context, contributions, entries, known, bool(prune))]
        else:
            lines += _not_looked_for(context, complete, gap)
    except UsageError as error:
        lines.append(f"failed    {error}")
        refused = True
    except Exception as error:  # what the checks found is reported all the same
        lines.append(f"failed    {in_a_line(error)}")
        failed = True
    told = _entries(contributions, ids)
    return Outcome(
        entries=summary.unique([*of_run.once(told, ids), *map(summary.entry, missing)]),
        counts=of_run.counts(told, ids),
        label=context.label,
        missing=missing,
        lines=tuple(lines),
        refused=refused,
        failed=failed,
        migrations=_migrations(told, ids, whole, context),
        settings=severities,
        registered=tuple(sorted(ids)),
        deselected=tuple(sorted({key for each in contributions for key in each.deselected} - ids)),
    )


def _not_looked_for(context: Context, complete: bool, gap: str) -> list[str]:
    """Why nothing is said of snapshots that nothing uses, or that only the merge base has."""
    if complete:
        return [f"did not look for unused snapshots: {gap}"]
    return [NOT_ALL] if context.merge_base is not None else []


def _names(contributions: Sequence[Contribution]) -> tuple[set[str], set[str], str]:
    """Names of the snapshots that are used, those of registered checkpoints, and why some may be missing."""
    used = {name for each in contributions for name in each.used}
    ids = {identifier for each in contributions for identifier in each.ids}
    return used, ids, next((each.gap for each in contributions if each.gap), "")


def _entries(contributions: Sequence[Contribution], ids: set[str]) -> list[summary.Entry]:
    """Every verdict, and an entry for each registered checkpoint that has none."""
    entries = [entry for each in contributions for entry in each.entries]
    return [*entries, *_unchecked(contributions, ids - {entry.id for entry in entries})]


def _severities(context: Context) -> tuple[str, ...]:
    """What this branch changes in the severities of rules."""
    if context.merge_base is None:
        return ()
    return context.merge_base.changed_severities(context.severities)


def _migrations(entries: Sequence[summary.Entry], ids: set[str], whole: bool, context: Context) -> Migrations:
    """What the migrations of all registered checkpoints came to."""
    own = [each for each in entries if each.id in ids]
    known = whole and all(each.state not in ("unknown", "skipped") for each in own)
    found = migrations_report.of_run([(each.id, each.data) for each in own], known)
    return found if context.merge_base is not None else replace(found, broken=())


def _unchecked(contributions: Sequence[Contribution], ids: Iterable[str]) -> Iterator[summary.Entry]:
    """An entry for each registered checkpoint without a verdict: skipped, or unknown."""
    skipped = {key: reason for each in contributions for key, reason in each.skipped.items()}
    for identifier in sorted(ids):
        if identifier in skipped:
            yield summary.unchecked(identifier, "skipped", skipped[identifier])
        else:
            yield summary.unchecked(
                identifier, "unknown", "its test, or the whole run, ended before the check"
            )


def _acceptances(
    context: Context,
    contributions: Sequence[Contribution],
    entries: Sequence[accepted.Entry],
    known: Iterable[str],
    prune: bool,
) -> list[str]:
    """Takes the acceptances that cover nothing out, or names those of no registered checkpoint.

    That of a removed checkpoint is used only in a comparison.
    """
    here = (entry for entry in entries if context.merge_base is not None or entry.rule != "CK901")
    stray = acceptance.unregistered(here, known)
    if not prune and not context.update:
        return [acceptance.unknown_id(entry, context.ref) for entry in stray]
    said = _unused_entries(contributions)
    gone = [entry for entry in entries if entry in stray or _is_unused(entry, entries, said, context.ref)]
    if gone:
        accepted_files.drop(context.folder, gone)
    return [acceptance.taken_out(entry) for entry in gone]


def _unused_entries(contributions: Sequence[Contribution]) -> Counter[str]:
    """What was said of accepted breaks that no longer occur, and of how many entries in one check."""
    said: Counter[str] = Counter()
    for each in contributions:
        for one in each.entries:
            said |= Counter(c["detail"] for c in one.data["changes"] if c["kind"] == "unused-acceptance")
    return said


def _is_unused(
    entry: accepted.Entry, entries: Sequence[accepted.Entry], said: Counter[str], ref: str
) -> bool:
    """Whether an entry covers nothing: it was said of as many as there are of which the same would be."""
    alike = sum(each.file == entry.file and each.identity == entry.identity for each in entries)
    return max(said[acceptance.no_longer_occurs(entry, each)] for each in ("", ref)) >= alike


def require_registered(rewrite: Iterable[str], ids: Iterable[str]) -> None:
    """Raises UsageError for the id of a snapshot to be recorded anew that is not registered."""
    known = sorted(set(ids))
    for identifier in sorted(rewrite):
        if identifier not in known:
            problem = "is not a registered checkpoint; nothing was written"
            raise UsageError(identifier, problem, ids_of.known_are(identifier, known))


def _write(contributions: Sequence[Contribution], context: Context, full: bool) -> tuple[list[str], bool]:
    """Writes each snapshot that can be written; returns lines on them, and whether one could not be."""
    writes: defaultdict[str, list[str]] = defaultdict(list)
    for each in contributions:
        for name, text in each.writes.items():
            writes[name].append(text)
    over = update.over_all(each.over for each in contributions)
    lines, failed = written.write_all(context.folder, writes, full, over)
    if context.update and not lines:
        up_to_date = _is_all_known(contributions)
        lines.append("every snapshot is up to date" if up_to_date else "no snapshot was written")
    return lines, failed


def _is_all_known(contributions: Sequence[Contribution]) -> bool:
    """Whether every checkpoint was looked at or skipped, and none is broken; not where a worker died."""
    entries = [entry for each in contributions for entry in each.entries]
    told = {entry.id for entry in entries}.union(*(each.skipped for each in contributions))
    known = told.issuperset(identifier for each in contributions for identifier in each.ids)
    return bool(entries) and known and {each.state for each in entries}.isdisjoint(("broken", "unknown"))


def _replaced(folder: Path, used: set[str], before: set[str]) -> Iterator[str]:
    """Removes snapshots of definitions whose registrations now give other arguments, recorded in this run."""
    came = (name for name in store.names(folder) if name in used - before)
    for name, now in store.replaced(store.unused(folder, used), came).items():
        store.remove(folder, name)
        yield f"removed   {store.shown(folder, name)}: {store.shown(folder, now)} takes its place"


def _unused(context: Context, used: set[str], whole: bool, prune: bool, gap: str) -> Iterator[str]:
    """Removes the snapshots that nothing uses, or names them."""
    if prune and gap:
        yield "pruned nothing: the snapshots in use are not all known; correct the checkpoint that failed"
    elif prune and not whole:
        yield "pruned nothing: the run was incomplete; run all tests without a selection"
    for name in store.unused(context.folder, used) if whole else ():
        shown = store.shown(context.folder, name)
        if prune:
            store.remove(context.folder, name)
            yield f"removed   {shown}: no test uses it"
        else:
            yield unused_line(context.folder, name)


def unused_line(folder: Path, name: str) -> str:
    """What is said of a snapshot that nothing uses."""
    return f"unused    {store.shown(folder, name)}: no test uses it; remove it with {_removal(name)}"


def _removal(name: str) -> str:
    """What removes a snapshot; of a checkpoint, so that a comparison knows why."""
    if store.is_definition(name):
        return "pytest --ckpt-prune"
    retire = f'ckpt-compat retire {shlex.quote(store.identifier(name))} --reason "..."'
    return f"{retire}, or by pytest --ckpt-prune if no commit that you compare with has it"


def _missing(
    context: Context, used: set[str], entries: Sequence[accepted.Entry]
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Finds snapshots of the merge base that nothing uses, and those that were only renamed.

    Raises:
        CkptCompatError: git or a file cannot be read.
    """
    if context.merge_base is None:
        return (), ()
    context.doing(f"looking at the snapshots of {context.label}")
    try:
        found, lines = context.merge_base.missing_snapshots(context.folder, used)
    finally:
        context.doing("")
    left = acceptance.not_retired(found, entries, context.today)
    covered = [acceptance.apply([each], entries, context.today, ())[0] for each in left]
    retirable = any(each.repairs for each in covered)
    if not retirable:
        return tuple(with_commands(each, context.ref) for each in covered), lines
    note = "if it went with a checkpoint that is named here, retiring that covers it, too"
    return tuple(
        each if each.repairs or each.compatible else replace(each, notes=(*each.notes, note))
        for each in covered
    ), lines
