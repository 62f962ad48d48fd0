"""One pytest run: its settings, its registered checkpoints, and what their checks add up to."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.internal import in_a_line
from pytest_ckpt_compat._pytest_plugin.completeness import ran_everything, was_stopped
from pytest_ckpt_compat._pytest_plugin.items import CheckpointFile, collector_of
from pytest_ckpt_compat._pytest_plugin.keys import LOST, PARTIAL, REGISTRATIONS
from pytest_ckpt_compat._pytest_plugin.registrations import Node, Registrations
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._registry.names import MARKER, PARAMETER
from pytest_ckpt_compat._registry.paths import is_glob
from pytest_ckpt_compat._registry.registration import Registration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_ckpt_compat._check.ahead import Ahead
    from pytest_ckpt_compat._check.checkpoint import Result
    from pytest_ckpt_compat._check.context import Context, MergeBase
    from pytest_ckpt_compat._check.contribution import Contribution
    from pytest_ckpt_compat._check.run import Outcome
    from pytest_ckpt_compat._pytest_plugin.fixture import CkptCompat
    from pytest_ckpt_compat._pytest_plugin.run_terminal import RunTerminal

_RESULTS = pytest.StashKey[list["Result"]]()


@dataclass
class Session:
    """What one process of a run knows.

    Attributes:
        config: pytest's.
        settings: those of the project's file.
        folder: the snapshot folder.
        registrations: the checkpoints that are registered.
        update: whether snapshots are recorded.
        rewrite: ids of the checkpoints whose frozen snapshot is recorded anew.
        merge_base: what the run is compared with, or None.
        prune: whether snapshots that nothing uses are removed.
        contributions: what the tests have reported.
        outcome: what the run came to, at its end.
        published: where the reports went, a line each.
        deselected: ids of those that were collected and are not going to be checked, until they are told.
        terminal: where it is shown what takes long, or None.
        ahead: what reads the checkpoints at addresses ahead of their checks, or None.
    """

    config: pytest.Config
    settings: project_file.Settings
    folder: Path
    registrations: Registrations
    update: bool
    rewrite: frozenset[str]
    merge_base: MergeBase | None
    prune: bool
    contributions: list[Contribution] = field(default_factory=list)
    outcome: Outcome | None = None
    published: list[str] = field(default_factory=list)
    deselected: tuple[str, ...] = ()
    terminal: RunTerminal | None = None
    ahead: Ahead | None = None
    _context: tuple[object, Context] | None = None

    def collector(self, path: Path, parent: pytest.Collector) -> CheckpointFile:
        """A collector of the checkpoints that are registered without test code."""
        return collector_of(path, parent, self.registrations.declared)

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Makes an item for each checkpoint of a test that has several markers, or a glob."""
        marks = _in_order(metafunc.definition)
        if len(marks) == 1 and not is_glob(next(iter(marks[0].args), "")):
            return
        found = self.registrations.of_marks(metafunc.definition, marks)
        metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, found, ids=[each.id for each in found], indirect=True)

    def register(self, item: pytest.Item) -> None:
        """Keeps the registrations of an item with it."""
        if REGISTRATIONS in item.stash:
            return
        callspec = getattr(item, "callspec", None)
        marks = _in_order(item)
        found: tuple[Registration, ...] = ()
        if callspec is not None and PARAMETER in callspec.params:
            found = (callspec.params[PARAMETER],)
            marks = [mark for mark in callspec.marks if mark.name == MARKER]
        item.stash[REGISTRATIONS] = (*found, *self.registrations.of_marks(item, marks))

    def check(self, item: pytest.Item) -> None:
        """Checks an item's checkpoints; fails the test with the report of those that do not load."""
        __tracebackhide__ = True
        from pytest_ckpt_compat._check.checkpoint import check_registered
        from pytest_ckpt_compat._report import text

        with self._watched():
            results = [check_registered(each, self.context()) for each in item.stash[REGISTRATIONS]]
        item.stash[_RESULTS] = results
        headlines = {
            f"ckpt_compat.{verdict.name}": text.headline(verdict)
            for result in results
            for verdict in result.verdicts
        }
        others = [
            pair for pair in item.user_properties if pair[0] not in headlines
        ]  # a rerun adds them again
        item.user_properties[:] = [*others, *headlines.items()]
        failing = [verdict for result in results for verdict in result.verdicts if not verdict.compatible]
        if failing:
            pytest.fail("\n\n".join(text.render(verdict, self._full) for verdict in failing), pytrace=False)

    def context(self) -> Context:
        """What the checks of this run have in common."""
        known = (len(self.registrations.known), self.merge_base, self.terminal, self.ahead)
        if self._context is None or self._context[0] != known:
            from pytest_ckpt_compat._pytest_plugin.run_context import context_of

            self._context = known, context_of(self, self._paged)
        return self._context[1]

    def begin(self, items: Sequence[pytest.Item]) -> None:
        """Finds the terminal on which it is shown what takes long, and begins to read what is elsewhere.

        Call it before the first test, while nothing is captured. A worker of xdist does not know which tests
        it will run, and reads what each needs.
        """
        from pytest_ckpt_compat._pytest_plugin.run_terminal import find_terminal

        self.terminal = find_terminal(self.config)
        self.deselected = self._left_by(items)
        if self.deselected:
            self.config.stash[PARTIAL] = True
        wanted = (item for item in items if item.get_closest_marker("skip") is None)
        found = [each for item in wanted for each in item.stash.get(REGISTRATIONS, ())]
        if any(each.address for each in found) and not hasattr(self.config, "workerinput"):
            from pytest_ckpt_compat._check.ahead import read_ahead

            self.ahead = read_ahead(found)

    def _left_by(self, items: Sequence[pytest.Item]) -> tuple[str, ...]:
        """The checkpoints that were collected and are not going to be checked.

        A plugin or a ``conftest.py`` that divides a run may take items out without a word.
        """
        if self.config.pluginmanager.hasplugin("dsession"):
            return ()  # its workers have the items
        there = {each.id for item in items for each in item.stash.get(REGISTRATIONS, ())}
        return tuple(dict.fromkeys(each.id for each in self.registrations.known if each.id not in there))

    def _watched(self) -> AbstractContextManager[None]:
        return self.terminal.watched() if self.terminal else nullcontext()

    def contribution(self, item: pytest.Item, report: pytest.TestReport) -> str:
        """What an item's report carries to the process that writes, as text; "" if that is nothing."""
        from pytest_ckpt_compat._check import contribution
        from pytest_ckpt_compat._check.checkpoint import expected_to_break

        registrations = item.stash.get(REGISTRATIONS, ())
        results = item.stash.get(_RESULTS, []) if report.when == "call" else []
        if report.when == "setup":
            found = contribution.of_registrations(registrations)
        else:
            if report.skipped and hasattr(report, "wasxfail"):
                results = [expected_to_break(each, report.wasxfail) for each in results]
            found = contribution.of_results(results, self._full, self._paged)
        if report.skipped and not results:
            reason = _skip_reason(report)
            found = replace(found, skipped={each.id: reason for each in registrations})
        told, self.deselected = self.deselected, ()  # once is enough
        found = replace(found, partial=self._partial, deselected=told)
        return "" if found == contribution.Contribution() else found.dumps()

    def collect(self, text: str) -> None:
        """Takes in what a report carries."""
        from pytest_ckpt_compat._check.contribution import Contribution

        self.contributions.append(Contribution.loads(text))

    def finish(self, session: pytest.Session) -> None:
        """Writes snapshots and reports, and sets the exit code."""
        from pytest_ckpt_compat._check.run import conclude

        self._end_reading()
        complete = not self._partial and ran_everything(session)
        found = [*self.contributions, *self._unreached(session)]
        context = self.context()
        with self._watched():
            self.outcome = conclude(found, context, complete, self.prune, self._full)
        if context.update:
            from pytest_ckpt_compat._premerge import ignored

            lines = (*self.outcome.lines, *ignored.remarks(context.folder))
            self.outcome = replace(self.outcome, lines=lines)
        code = self.outcome.exit_code_of_pytest(session.exitstatus, self.merge_base is not None)
        try:
            self._publish(self.outcome)
        except Exception as error:  # pytest's own report goes on
            self.published.append(f"failed    {in_a_line(error)}")
            code = pytest.ExitCode.TESTS_FAILED if code == pytest.ExitCode.OK else code
        session.exitstatus = code

    def _unreached(self, session: pytest.Session) -> list[Contribution]:
        """The checkpoints that a run which was stopped did not come to; of xdist's, nobody knows which.

        Nor is known which those are whose test died with its worker while it was set up.
        """
        from pytest_ckpt_compat._check.contribution import Contribution

        if session.config.getoption("collectonly"):
            return []
        known = {identifier for each in self.contributions for identifier in each.ids}
        found = [each.id for item in session.items for each in item.stash.get(REGISTRATIONS, ())]
        if was_stopped(session) and session.config.pluginmanager.hasplugin("dsession"):
            found = ["the rest of the run"]
        lost: list[str] = self.config.stash.get(LOST, [])
        found += lost
        left = tuple(identifier for identifier in dict.fromkeys(found) if identifier not in known)
        some = left or self.deselected
        return [Contribution(partial=True, ids=left, deselected=self.deselected)] if some else []

    def close(self) -> None:
        """Ends what the session has started."""
        if self.merge_base is not None:
            self.merge_base.close()
        if self.terminal is not None:
            self.terminal.close()
        self._end_reading()

    def _end_reading(self) -> None:
        if self.ahead is not None:
            self.ahead.close()

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Prints the remarks of checks that passed, and the files that were written."""
        if self.outcome is None:
            return
        from pytest_ckpt_compat._report import alike, overview, summary

        outcome = self.outcome
        missing = [summary.entry(verdict) for verdict in outcome.missing if not verdict.compatible]
        lines = [*([outcome.report.compared] if self.merge_base else []), *outcome.migrations.lines]
        lines += outcome.settings
        lines += [*overview.remarks(outcome.entries, self._full), *outcome.lines]
        lines += [*alike.blocks(missing, self._full), *self.published]
        if lines:
            reporter.section("checkpoint compatibility", sep="-")
            for line in lines:
                reporter.line(line)

    def _publish(self, outcome: Outcome) -> None:
        """Writes the reports that are wanted: one for a run, however many workers it has."""
        files = self.config.getoption("ckpt_report") or ()
        if not outcome.entries and not files:
            return
        from pytest_ckpt_compat._report.publish import publish

        paths = [str(self.config.invocation_params.dir / file) for file in files]
        self.published += publish(outcome.report, paths, os.environ)

    def fixture(self, item: pytest.Item) -> CkptCompat:
        """The fixture's value for an item."""
        from pytest_ckpt_compat._pytest_plugin.fixture import CkptCompat

        def accepted() -> str:
            verdicts = (verdict for result in item.stash.get(_RESULTS, []) for verdict in result.verdicts)
            changes = (change for verdict in verdicts for change in verdict.of(Severity.ACCEPTED))
            return next((change.reason for change in changes), "")

        registrations = item.stash.get(REGISTRATIONS, ())
        return CkptCompat(registrations, self.registrations.search(item.path.parent), self._full, accepted)

    @property
    def _partial(self) -> bool:
        return self.config.stash.get(PARTIAL, False)

    @property
    def _full(self) -> bool:
        return bool(self.config.get_verbosity() >= 2)

    @property
    def _paged(self) -> bool:
        from pytest_ckpt_compat._report.publish import have_pages

        return have_pages(self.config.getoption("ckpt_report") or ())


def _skip_reason(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"xfail: {report.wasxfail}"
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _in_order(node: Node) -> list[pytest.Mark]:
    """The checkpoint markers, outermost first, decorators from top to bottom."""
    return list(node.iter_markers(MARKER))[::-1]
