"""One pytest run: its settings, its registered checkpoints, and what its reports bring in."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ckpt_compat._check import update as recording
from pytest_ckpt_compat._check.record import Record
from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, CkptCompatError, UsageError
from pytest_ckpt_compat._pytest_plugin.completeness import NOT_ALL, ran_everything
from pytest_ckpt_compat._pytest_plugin.items import REGISTRATIONS, CheckpointFile, collector_of
from pytest_ckpt_compat._registry import project_file as settings
from pytest_ckpt_compat._registry.hook import from_hook
from pytest_ckpt_compat._registry.marker import from_marker
from pytest_ckpt_compat._registry.names import MARKER, PARAMETER
from pytest_ckpt_compat._registry.paths import SearchPath, is_glob
from pytest_ckpt_compat._registry.registration import Registration, without_duplicates
from pytest_ckpt_compat._report import summary
from pytest_ckpt_compat._snapshots import folder as snapshots

if TYPE_CHECKING:
    from pytest_ckpt_compat._check.checkpoint import Result
    from pytest_ckpt_compat._check.snapshots import Context
    from pytest_ckpt_compat._premerge.git import Base
    from pytest_ckpt_compat._premerge.merge_base_code import Earlier
    from pytest_ckpt_compat._pytest_plugin.fixture import CkptCompat

_Node = pytest.Item | pytest.Collector

_RESULTS = pytest.StashKey[list["Result"]]()


@dataclass
class Session:
    """What one process of a run knows.

    Attributes:
        config: pytest's.
        settings: those of the project's file.
        folder: the snapshot folder.
        update: whether snapshots are recorded.
        rewrite: ids of the checkpoints whose frozen snapshot is recorded anew.
        earlier: the code of the commit that the run is compared with, or None.
        prune: whether snapshots that no test stands for are removed.
        partial: whether some test was deselected, lost, or not collected.
        unknown: tests that failed only because something could not be checked.
        ids: registered checkpoints that reported.
        compared: id -> number of tensors, of the checkpoints that were loaded.
        entries: every verdict, for reports.
        used: names of the snapshots that reported tests stand for.
        writes: snapshot name -> text to write at the end.
        done: what was written or removed or found at the end, a line each.
    """

    config: pytest.Config
    settings: settings.Settings
    folder: Path
    update: bool
    rewrite: frozenset[str]
    earlier: Earlier | None
    prune: bool
    partial: bool = False
    unknown: int = 0
    ids: set[str] = field(default_factory=set)
    compared: dict[str, int] = field(default_factory=dict)
    entries: list[summary.Entry] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    writes: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def collector(self, path: Path, parent: pytest.Collector) -> CheckpointFile:
        """A collector of the checkpoints that are registered without test code."""
        return collector_of(path, parent, self._declared)

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Gives a test with several checkpoints, or with a glob, an item for each."""
        marks = _in_order(metafunc.definition)
        try:
            found = self._registrations(metafunc.definition, marks)
        except UsageError as error:
            raise pytest.Collector.CollectError(str(error)) from error
        if len(marks) == 1 and not is_glob(marks[0].args[0]):
            return
        metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, found, ids=[each.id for each in found], indirect=True)

    def register(self, item: pytest.Item) -> None:
        """Notes the registrations that an item stands for."""
        if REGISTRATIONS in item.stash:
            return
        callspec = getattr(item, "callspec", None)
        marks = _in_order(item)
        found: tuple[Registration, ...] = ()
        if callspec is not None and PARAMETER in callspec.params:
            found = (callspec.params[PARAMETER],)
            marks = [mark for mark in callspec.marks if mark.name == MARKER]
        try:
            item.stash[REGISTRATIONS] = (*found, *self._registrations(item, marks))
        except UsageError as error:  # of a marker that parametrize or a unittest.TestCase brought in
            raise pytest.UsageError(str(error)) from error

    def check(self, item: pytest.Item) -> None:
        """Checks an item's checkpoints; fails the test with the report of those that do not load."""
        __tracebackhide__ = True
        from pytest_ckpt_compat._check.checkpoint import check_registered
        from pytest_ckpt_compat._report import text

        registrations = item.stash[REGISTRATIONS]
        results, complaint = [], ""
        try:
            results = [check_registered(each, self.context()) for each in registrations]
        except UsageError as error:
            complaint = str(error)
        if complaint:  # not in the handler: pytest would print the error once more, as the context
            pytest.fail(complaint, pytrace=False)
        item.stash[_RESULTS] = results
        item.user_properties += [
            (f"ckpt_compat.{verdict.name}", text.headline(verdict))
            for result in results
            for verdict in result.verdicts
        ]
        failing = [verdict for result in results for verdict in result.verdicts if not verdict.compatible]
        if failing:
            pytest.fail("\n\n".join(text.render(verdict, self._full) for verdict in failing), pytrace=False)

    @property
    def base(self) -> Base | None:
        """The commit that the run is compared with, or None."""
        return self.earlier.base if self.earlier is not None else None

    def context(self) -> Context:
        """What the checks of this run have in common."""
        from pytest_ckpt_compat._check.snapshots import Context

        return Context(self.folder, self.update, self.rewrite, earlier=self.earlier)

    def record(self, item: pytest.Item, when: str | None) -> str:
        """What an item's report carries to the process that writes, as text."""
        from pytest_ckpt_compat._check.checkpoint import used_names

        registrations = item.stash.get(REGISTRATIONS, ())
        if when == "setup":
            ids = tuple(each.id for each in registrations)
            try:
                used = tuple(sorted({name for each in registrations for name in used_names(each)}))
            except CkptCompatError:  # which snapshot is the definition's cannot be told: prune none
                return Record(partial=True, ids=ids).dumps()
            return Record(self.partial, ids, used).dumps()
        results = item.stash.get(_RESULTS, []) if when == "call" else []
        entries = tuple(summary.entry(verdict) for result in results for verdict in result.verdicts)
        states = {entry.state for entry in entries}
        return Record(
            self.partial,
            writes={name: text for each in results for name, text in each.writes.items()},
            compared={
                each.id: result.tensors
                for each, result in zip(registrations, results, strict=False)
                if result.tensors is not None
            },
            entries=entries,
            unknown="unknown" in states and "broken" not in states,
        ).dumps()

    def collect(self, text: str) -> None:
        """Takes in what a report carries."""
        record = Record.loads(text)
        self.partial = self.partial or record.partial
        self.unknown += record.unknown
        self.ids.update(record.ids)
        self.used.update(record.used)
        self.compared.update(record.compared)
        self.entries += record.entries
        self.writes.update(record.writes)

    def finish(self, session: pytest.Session) -> None:
        """Writes what was recorded; removes what nobody used, if asked and if the run was complete."""
        complete = not self.partial and ran_everything(session)
        code = session.exitstatus
        if code == pytest.ExitCode.TESTS_FAILED and session.testsfailed == self.unknown:
            code = COULD_NOT_CHECK
        try:
            if self._write(session.testsfailed):
                self._clear(complete)
            else:
                code = pytest.ExitCode.USAGE_ERROR
            if complete and not self._look_around() and code == pytest.ExitCode.OK:
                code = COULD_NOT_CHECK
            if self.base is not None and not complete:
                self.done.append(NOT_ALL)
            if self.base is not None and not self.compared:
                code = COULD_NOT_CHECK
            if self.entries or self.config.getoption("ckpt_report"):
                self._publish()
        except CkptCompatError as error:
            self.done.append(f"failed    {error}")
            code = COULD_NOT_CHECK if code == pytest.ExitCode.OK else code
        session.exitstatus = code

    def _write(self, failed: int) -> bool:
        """Writes the snapshots, unless something was named that is no checkpoint."""
        strange = sorted(self.rewrite - self.ids)
        known = ", ".join(sorted(self.ids)) or "none"
        self.done += [f"failed    {each}: is no registered checkpoint; known are {known}" for each in strange]
        if strange:
            self.done.append("no snapshot was written")
            return False
        for name, text in sorted(self.writes.items()):
            self.done += recording.write(self.folder, name, text, self._full)
        if self.update and not self.done:
            self.done.append("no snapshot was written" if failed else "every snapshot is up to date")
        return True

    def _clear(self, complete: bool) -> None:
        """Removes the snapshots that nobody used, or names them."""
        if self.prune and not complete:
            self.done.append(
                "nothing was pruned: the run was not complete (run all tests, without a selection)"
            )
        for name in recording.unused(self.folder, self.used) if complete else ():
            shown = recording.shown(self.folder, name)
            if self.prune:
                snapshots.remove(self.folder, name)
                self.done.append(f"removed   {shown}: no test stands for it")
            else:
                self.done.append(f"unused    {shown}: no test stands for it; remove it with --ckpt-prune")

    def _look_around(self) -> bool:
        """After a complete run: what nothing stands for. Whether the reference has no such snapshot."""
        from pytest_ckpt_compat._check import acceptance
        from pytest_ckpt_compat._check.checkpoint import lost
        from pytest_ckpt_compat._report.text import render
        from pytest_ckpt_compat._snapshots import accepted

        verdicts, said = lost(self.context(), self.used)
        self.entries += [summary.entry(verdict) for verdict in verdicts]
        gone = [verdict for verdict in verdicts if not verdict.compatible]
        self.done += [*said, *(render(verdict) for verdict in gone)]
        known = {*self.ids, *map(snapshots.identifier, self.used), *(verdict.name for verdict in verdicts)}
        self.done += acceptance.unregistered(accepted.load(self.folder), known)
        return not gone

    def close(self) -> None:
        """Ends what the session has started."""
        if self.earlier is not None:
            self.earlier.close()

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Prints what passed with something to say, and what was written."""
        said = summary.remarks(summary.unique(self.entries))
        lines = [*([self._compared()] if self.base else []), *said, *self.done]
        if lines:
            reporter.section("checkpoint compatibility", sep="-")
            for line in lines:
                reporter.line(line)

    def _compared(self) -> str:
        """How much was compared, with the reference if there is one."""
        from pytest_ckpt_compat._report.overview import compared

        counts = (len(self.compared), sum(self.compared.values()))
        return compared(counts, self.base.label if self.base else "")

    def _publish(self) -> None:
        """Writes the reports that are wanted: one for a run, however many workers it has."""
        from pytest_ckpt_compat._report.publish import publish

        label = self.base.label if self.base else ""
        run = summary.Run(summary.unique(self.entries), self._compared(), label)
        file = self.config.getoption("ckpt_report")
        place = str(self.config.invocation_params.dir / file) if file else None
        self.done += publish(run, place, os.environ)

    def fixture(self, item: pytest.Item) -> CkptCompat:
        """The fixture's value for an item."""
        from pytest_ckpt_compat._pytest_plugin.fixture import CkptCompat

        return CkptCompat(item.stash.get(REGISTRATIONS, ()), self._place(item.path.parent), self._full)

    @property
    def _full(self) -> bool:
        return bool(self.config.get_verbosity() >= 2)

    def _registrations(self, node: _Node, marks: list[pytest.Mark]) -> list[Registration]:
        place = self._place(node.path.parent)
        found = [each for mark in marks for each in from_marker(mark.args, mark.kwargs, place)]
        ids = [each.id for each in found]
        twice = next((each for each in ids if ids.count(each) > 1), None)
        if twice is not None:
            raise UsageError(
                f"checkpoint {twice}", f"is registered twice on {node.name}", "give one of them another id="
            )
        return found

    def _declared(self) -> tuple[Registration, ...]:
        place = self._place()
        given = self.config.hook.pytest_ckpt_compat_checkpoints(config=self.config)
        tables = [table for tables in reversed(given) for table in tables or ()]
        found = (*settings.registrations(self.settings, place), *from_hook(tables, place))
        return without_duplicates(found, "checkpoint")

    def _place(self, *folders: Path) -> SearchPath:
        root = self.config.rootpath
        return SearchPath(
            (*folders, root), root, lambda: recording.recorded(self.folder), self.settings.level
        )


def _in_order(node: _Node) -> list[pytest.Mark]:
    """The checkpoint markers, outermost first, decorators from top to bottom."""
    return list(node.iter_markers(MARKER))[::-1]
