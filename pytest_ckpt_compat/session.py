"""One pytest run: its settings, its registered checkpoints, and what its reports bring in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ckpt_compat import settings, snapshots
from pytest_ckpt_compat.changes import Severity
from pytest_ckpt_compat.completeness import ran_everything
from pytest_ckpt_compat.config import SNAPSHOT_DIR, Place, Registration, from_marker, is_glob
from pytest_ckpt_compat.declared import REGISTRATIONS, CheckpointFile, collector_of
from pytest_ckpt_compat.errors import CkptCompatError, SnapshotError, UsageError
from pytest_ckpt_compat.report import summary
from pytest_ckpt_compat.text import count

if TYPE_CHECKING:
    from pytest_ckpt_compat.fixture import CkptCompat
    from pytest_ckpt_compat.git import Base
    from pytest_ckpt_compat.registered import Context, Result

_Node = pytest.Item | pytest.Collector

#: Exit code of a run in which nothing is known either way.
COULD_NOT_CHECK = 2
_MARKER = "checkpoint"
#: The argument that turns one test into an item for each of its checkpoints.
_PARAMETER = "_ckpt_registration"
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
        base: the commit that the run is compared with, or None.
        prune: whether snapshots that no test stands for are removed.
        partial: whether some test was deselected, lost, or not collected.
        ids: registered checkpoints that reported.
        compared: id -> number of tensors, of the checkpoints that were loaded.
        entries: every verdict, for reports.
        used: names of the snapshots that reported tests stand for.
        writes: snapshot name -> text to write at the end.
        said: what checks that passed have to say, in order.
        done: what was written or removed, a line each.
    """

    config: pytest.Config
    settings: settings.Settings
    folder: Path
    update: bool
    rewrite: frozenset[str]
    base: Base | None
    prune: bool
    partial: bool = False
    ids: set[str] = field(default_factory=set)
    compared: dict[str, int] = field(default_factory=dict)
    entries: list[summary.Entry] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    writes: dict[str, str] = field(default_factory=dict)
    said: dict[str, None] = field(default_factory=dict)
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
        metafunc.fixturenames.append(_PARAMETER)
        metafunc.parametrize(_PARAMETER, found, ids=[each.id for each in found], indirect=True)

    def register(self, item: pytest.Item) -> None:
        """Notes the registrations that an item stands for."""
        if REGISTRATIONS in item.stash:
            return
        callspec = getattr(item, "callspec", None)
        marks = _in_order(item)
        found: tuple[Registration, ...] = ()
        if callspec is not None and _PARAMETER in callspec.params:
            found = (callspec.params[_PARAMETER],)
            marks = [mark for mark in callspec.marks if mark.name == _MARKER]
        try:
            item.stash[REGISTRATIONS] = (*found, *self._registrations(item, marks))
        except UsageError as error:  # of a marker that parametrize or a unittest.TestCase brought in
            raise pytest.UsageError(str(error)) from error

    def check(self, item: pytest.Item) -> None:
        """Checks an item's checkpoints; fails the test with the report of those that do not load."""
        __tracebackhide__ = True
        from pytest_ckpt_compat.registered import check_registered
        from pytest_ckpt_compat.report import text

        registrations = item.stash[REGISTRATIONS]
        try:
            results = [check_registered(each, self.context()) for each in registrations]
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)
        item.stash[_RESULTS] = results
        item.user_properties += [
            (f"ckpt_compat.{verdict.name}", text.headline(verdict))
            for result in results
            for verdict in result.verdicts
        ]
        verdicts = [verdict for result in results for verdict in result.verdicts if not verdict.compatible]
        if verdicts:
            full = self._full
            pytest.fail("\n\n".join(text.render(verdict, full) for verdict in verdicts), pytrace=False)

    def context(self) -> Context:
        """What the checks of this run have in common."""
        from pytest_ckpt_compat.registered import Context

        return Context(self.folder, self.update, self.rewrite, base=self.base)

    def record(self, item: pytest.Item, when: str | None) -> str:
        """What an item's report carries to the process that writes, as JSON text."""
        from pytest_ckpt_compat.registered import used_names

        registrations = item.stash.get(REGISTRATIONS, ())
        record: dict[str, Any] = {"partial": self.partial}
        if when == "setup":
            record["ids"] = [each.id for each in registrations]
            try:
                record["used"] = sorted({name for each in registrations for name in used_names(each)})
            except CkptCompatError:  # which snapshot is the definition's cannot be told: prune none
                record["partial"] = True
        elif when == "call":
            results = item.stash.get(_RESULTS, [])
            record["writes"] = {name: text for each in results for name, text in each.writes.items()}
            record["compared"] = {
                each.id: result.tensors
                for each, result in zip(registrations, results, strict=False)
                if result.tensors is not None
            }
            entries = [summary.entry(verdict) for result in results for verdict in result.verdicts]
            record["entries"] = [entry.as_data() for entry in entries]
            record["said"] = [line for result in results for line in _said(result)]
        return json.dumps(record)

    def collect(self, record: str) -> None:
        """Takes in what a report carries."""
        data = json.loads(record)
        self.partial = self.partial or data["partial"]
        self.ids.update(data.get("ids", ()))
        self.used.update(data.get("used", ()))
        self.compared.update(data.get("compared", {}))
        self.entries += (summary.Entry(**entry) for entry in data.get("entries", ()))
        self.writes.update(data.get("writes", {}))
        self.said.update(dict.fromkeys(data.get("said", ())))

    def finish(self, session: pytest.Session) -> None:
        """Writes what was recorded; removes what nobody used, if asked and if the run was complete."""
        try:
            for name, text in sorted(self.writes.items()):
                self.done += self._write(name, text)
            if self.prune and self._is_complete(session):
                for name in self._unused():
                    snapshots.remove(self.folder, name)
                    self.done.append(f"removed   {self._shown(name)}: no test stands for it")
            if self.entries or self.config.getoption("ckpt_report"):
                self._publish()
        except SnapshotError as error:
            self.done.append(f"failed    {error}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.base is not None and not self.compared:
            session.exitstatus = COULD_NOT_CHECK
        for identifier in sorted(self.rewrite - self.ids):
            known = ", ".join(sorted(self.ids)) or "none"
            self.done.append(f"failed    {identifier}: is no registered checkpoint; known are {known}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if self.prune and not self._is_complete(session):
            self.done.append(
                "nothing was pruned: the run was not complete (run all tests, without a selection)"
            )

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Prints what passed with something to say, and what was written."""
        lines = [*([self._compared()] if self.base else []), *self.said, *self.done]
        session = reporter._session
        if not self.prune and session is not None and self._is_complete(session):
            unused = [self._shown(name) for name in self._unused()]
            lines += [
                f"unused    {name}: no test stands for it; remove it with --ckpt-prune" for name in unused
            ]
        if self.update and not self.done:
            failed = session is not None and session.testsfailed
            lines.append("no snapshot was written" if failed else "every snapshot is up to date")
        if lines:
            reporter.section("checkpoint compatibility", sep="-")
            for line in lines:
                reporter.line(line)

    def _compared(self) -> str:
        """How much was compared, with the reference if there is one."""
        from pytest_ckpt_compat.report.overview import compared

        counts = (len(self.compared), sum(self.compared.values()))
        return compared(counts, self.base.label if self.base else "")

    def _publish(self) -> None:
        """Writes the reports that are wanted: one for a run, however many workers it has."""
        from pytest_ckpt_compat.outlets import publish

        label = self.base.label if self.base else ""
        run = summary.Run(summary.unique(self.entries), self._compared(), label)
        file = self.config.getoption("ckpt_report")
        place = str(self.config.invocation_params.dir / file) if file else None
        self.done += publish(run, place, os.environ)

    def fixture(self, item: pytest.Item) -> CkptCompat:
        """The fixture's value for an item."""
        from pytest_ckpt_compat.fixture import CkptCompat

        return CkptCompat(item.stash.get(REGISTRATIONS, ()), self._place(item), self._full)

    @property
    def _full(self) -> bool:
        return bool(self.config.get_verbosity() >= 2)

    def _registrations(self, node: _Node, marks: list[pytest.Mark]) -> list[Registration]:
        place = self._place(node)
        found = [each for mark in marks for each in from_marker(mark.args, mark.kwargs, place)]
        ids = [each.id for each in found]
        twice = next((each for each in ids if ids.count(each) > 1), None)
        if twice is not None:
            raise UsageError(
                f"checkpoint {twice}", f"is registered twice on {node.name}", "give one of them another id="
            )
        return found

    def _declared(self) -> tuple[Registration, ...]:
        root = self.config.rootpath
        place = Place(folders=(root,), root=root, recorded=self._recorded, level=self.settings.level)
        given = self.config.hook.pytest_ckpt_compat_checkpoints(config=self.config)
        tables = [table for tables in reversed(given) for table in tables or ()]
        found = (*settings.registrations(self.settings, place), *settings.contributed(tables, place))
        return settings.without_duplicates(found, "checkpoint")

    def _place(self, node: _Node) -> Place:
        root = self.config.rootpath
        return Place((node.path.parent, root), root, self._recorded, self.settings.level)

    def _recorded(self) -> Iterator[tuple[str, str]]:
        """(shown path, id) of every checkpoint that has a snapshot."""
        for name in snapshots.names(self.folder):
            if name.startswith(snapshots.MODELS + "/"):
                continue
            identifier = snapshots.identifier(name)
            try:
                stored = snapshots.load(self.folder, name)
            except SnapshotError:
                stored = None
            yield (stored.source.path if stored else identifier), identifier

    def _write(self, name: str, text: str) -> list[str]:
        """Writes a snapshot; says so, and how it differs from what was there."""
        from pytest_ckpt_compat.fingerprint import loads
        from pytest_ckpt_compat.registered import difference, recorded_diff

        shown = self._shown(name)
        new = loads(text, shown)
        tensors = count(len(new.tensors), "tensor")
        said = [f"recorded  {shown}: {tensors}"]
        try:
            old = snapshots.load(self.folder, name)
            if old is not None:
                said = [f"updated   {shown}: {difference(old, new)}", *recorded_diff(old, new, self._full)]
        except SnapshotError:
            said = [f"replaced  {shown}, which could not be read: {tensors}"]
        snapshots.save(self.folder, name, text)
        return said

    def _unused(self) -> list[str]:
        return [name for name in snapshots.names(self.folder) if name not in self.used]

    def _is_complete(self, session: pytest.Session) -> bool:
        return not self.partial and ran_everything(session)

    def _shown(self, name: str) -> str:
        return f"{self.folder.name}/{name}"


def _in_order(node: _Node) -> list[pytest.Mark]:
    """The checkpoint markers, outermost first, decorators from top to bottom."""
    return list(node.iter_markers(_MARKER))[::-1]


def _said(result: Result) -> Iterator[str]:
    """What a check that passed has to say, a line for the verdict and for each note."""
    from pytest_ckpt_compat.report.text import headline, render

    for verdict in result.verdicts:
        existing = any(verdict.of(Severity.EXISTING))
        if verdict.compatible and existing:
            yield render(verdict)
        elif verdict.compatible and verdict.changes:
            yield headline(verdict)
        if verdict.compatible:
            yield from (f"{verdict.name}: {note}" for note in verdict.notes)


def from_config(config: pytest.Config) -> Session:
    """A session with a run's settings.

    Raises:
        pytest.UsageError: the project's file says something that cannot be meant.
    """
    try:
        found = settings.read(config.rootpath)
        if config.getoption("ckpt_report"):
            from pytest_ckpt_compat.outlets import check_name

            check_name(config.getoption("ckpt_report"))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    base, ref = None, config.getoption("ckpt_against")
    if ref:
        from pytest_ckpt_compat.git import merge_base

        try:
            base = merge_base(config.rootpath, ref)
        except UsageError as error:
            pytest.exit(str(error), returncode=COULD_NOT_CHECK)
    return Session(
        config=config,
        settings=found,
        folder=config.rootpath
        / str(config.getini("ckpt_snapshot_dir") or found.snapshot_dir or SNAPSHOT_DIR),
        update=bool(config.getoption("ckpt_update")),
        rewrite=frozenset(config.getoption("ckpt_rewrite")),
        base=base,
        prune=bool(config.getoption("ckpt_prune")),
    )
