"""Collects a project's registered checkpoints for a command, and runs no test."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from pytest_ckpt_compat._check.context import Context
from pytest_ckpt_compat._core.display import typed
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._pytest_plugin.completeness import asked_for_everything
from pytest_ckpt_compat._pytest_plugin.keys import REGISTRATIONS, SESSION
from pytest_ckpt_compat._pytest_plugin.marks import Marks, read_marks
from pytest_ckpt_compat._pytest_plugin.progress import shown
from pytest_ckpt_compat._pytest_plugin.reasons import of_conftest, reason
from pytest_ckpt_compat._registry import project_file, pytest_file
from pytest_ckpt_compat._registry.ids import known_are, refuse_glob
from pytest_ckpt_compat._registry.names import MARKER, PROJECT_FILES
from pytest_ckpt_compat._registry.registration import Registration

_T = TypeVar("_T")

#: Options, of this plugin, pytest, pytest-html and pytest-split, that write a report on the tests that ran.
_REPORTS = ("ckpt_against", "ckpt_report", "xmlpath", "htmlpath", "store_durations")


@dataclass(frozen=True)
class Project:
    """What a command works on.

    Attributes:
        root: pytest's root folder.
        context: the settings of the checks.
        registrations: every registered checkpoint, in order of collection.
        skipped: test modules that were skipped, whose checkpoints are not known.
        problems: what could not be collected, a line each.
        complete: whether these are all the checkpoints of the project.
        marks: what the tests' skip and xfail marks say about them.
        outside: files above the root folder that register checkpoints, too: those of another project.
    """

    root: Path
    context: Context
    registrations: tuple[Registration, ...]
    skipped: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    complete: bool = True
    outside: tuple[str, ...] = ()
    marks: Marks = field(default_factory=Marks)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was not looked at, a line each."""
        skipped = (
            f"skipped   {each}: its checkpoints, if it has any, were not checked" for each in self.skipped
        )
        outside = (
            f"skipped   {each}: it is above {self.root}, the root folder of this run" for each in self.outside
        )
        return (*skipped, *outside)


def registration_of(project: Project, identifier: str, otherwise: str) -> Registration:
    """The registration with an id.

    Args:
        project: in which it is looked for.
        identifier: the id.
        otherwise: what the command takes in its place, for the message.

    Raises:
        CkptCompatError: there is none, or it has a mistake.
    """
    known = {each.id: each for each in project.registrations}
    identifier = typed(identifier)
    if identifier not in known:
        refuse_glob(identifier, known, "one id")
        problem = "is not the id of a registered checkpoint"
        raise UsageError(identifier, problem, f"{known_are(identifier, known)}; {otherwise}")
    found = known[identifier]
    if found.problem is not None:
        raise found.problem
    return found


def in_project(
    work: Callable[[Project], _T],
    args: Sequence[str] = (),
    whole: bool = True,
    asks: bool = False,
    tests: bool = True,
) -> _T:
    """Lets pytest collect the project's checkpoints, and works on them before it ends.

    Drops what pytest and the project's code print: a command prints its result alone. At a terminal, what
    takes long is shown until it is done.

    Args:
        work: gets the project while its ``pythonpath`` and conftest files are in force.
        args: more arguments for pytest.
        whole: whether a failure to collect something, or nothing to work on, is an error.
        asks: whether the work asks the user, whose answers pytest would keep from it.
        tests: whether test modules are collected, which registers the checkpoints of their markers.

    Raises:
        UsageError: the collection failed, or found no checkpoint.
        CkptCompatError: as ``work`` raises it.
    """
    output = _Dropped()
    with (
        shown(sys.stderr) as doing,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        doing("collecting the registered checkpoints")
        finder = _Finder(work, whole, asks, tests, doing)
        # Nothing is run. With rewriting, pytest warns of modules that are imported already; to see what goes
        # wrong with garbage, it looks through all objects twice, which takes as long as many a check.
        options = ["--collect-only", "-q", "--assert=plain", "--tb=short", "-p", "no:unraisableexception"]
        options += ["-m", MARKER]
        code = pytest.main([*options, *args], plugins=[finder])
    if finder.error is not None:
        raise finder.error
    if finder.result:
        return finder.result[0]
    if not finder.problems and code == pytest.ExitCode.NO_TESTS_COLLECTED:
        advice = (
            "add [[tool.ckpt_compat.checkpoint]] to pyproject.toml, or "
            "@pytest.mark.checkpoint(path, model=...) to a test"
        )
        raise UsageError(finder.root, "no checkpoint is registered", advice)
    if code == pytest.ExitCode.INTERRUPTED and "KeyboardInterrupt" in output.getvalue():
        raise KeyboardInterrupt
    problem = (*finder.problems, _complaint(output.getvalue()))[0]
    raise UsageError("collection", problem, "run pytest to see it all")


class _Dropped(io.StringIO):
    """Takes what is printed, and stays open whatever the project's code closes."""

    def close(self) -> None:
        """Does nothing."""


class _Finder(Generic[_T]):
    """Does the work at the end of the collection."""

    def __init__(
        self,
        work: Callable[[Project], _T],
        whole: bool,
        asks: bool,
        tests: bool,
        doing: Callable[[str], None],
    ) -> None:
        self._work = work
        self._doing = doing
        self._whole = whole
        self._asks = asks
        self._tests = tests
        self._skipped: list[str] = []
        self._collected: list[pytest.Item] = []
        self.root = ""
        self.result: list[_T] = []
        self.error: BaseException | None = None
        self.problems: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Generator[None, None, None]:
        """Resets the option that makes pytest-cov start, which it does at this early moment."""
        early_config.known_args_namespace.cov_source = None
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Resets options that the project's ``addopts`` may set for test runs."""
        for name in _REPORTS:
            setattr(config.option, name, None)
        config.option.ckpt_update = config.option.ckpt_prune = False
        config.option.ckpt_collecting = True

    @pytest.hookimpl(tryfirst=True)  # then the plugin's own adds the file that registers checkpoints
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Collects the whole project even below its root folder, if no path was given."""
        config = session.config
        self.root = str(config.rootpath)
        elsewhere = config.invocation_params.dir != config.rootpath
        if not self._tests:
            config.args = [str(config.rootpath)]
            config.args_source = pytest.Config.ArgsSource.TESTPATHS
        elif config.args_source is pytest.Config.ArgsSource.INVOCATION_DIR and elsewhere:
            paths = [path for each in config.getini("testpaths") for path in config.rootpath.glob(each)]
            config.args = [str(path) for path in paths or [config.rootpath]]
            config.args_source = pytest.Config.ArgsSource.TESTPATHS

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Leaves everything out but the file that registers checkpoints, where tests are not wanted."""
        ours = collection_path.name in PROJECT_FILES or collection_path == config.rootpath
        return None if self._tests or ours else True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keeps what was not collected, and why."""
        if report.failed:
            self.problems.append(reason(str(report.longrepr), Path(self.root), report.nodeid))
        elif report.skipped:
            self._skipped.append(report.nodeid)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Keeps the order of the project's files: pytest-randomly and others change it."""
        self._collected.append(item)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Does the work, unless the collection failed."""
        kept = {id(item) for item in session.items}
        items = [item for item in self._collected if id(item) in kept]
        found: list[Registration] = []
        for each in (each for item in items for each in item.stash.get(REGISTRATIONS, ())):
            if not any(_same(each, other) for other in found):
                found.append(each)
        marks = read_marks(items)
        if self._whole and (self.problems or not found):
            return
        config, problems, skipped = session.config, tuple(self.problems), tuple(self._skipped)
        complete = asked_for_everything(config) and not problems and not skipped
        try:
            self._doing("")
            context = replace(config.stash[SESSION].context(), doing=self._doing)
            project = Project(
                root=config.rootpath,
                context=context,
                registrations=tuple(found),
                skipped=skipped,
                problems=problems,
                complete=complete,
                outside=_declared_above(config.rootpath),
                marks=marks,
            )
            capture = config.pluginmanager.getplugin("capturemanager")
            if self._asks and capture is not None:
                capture.suspend_global_capture(in_=True)  # it ends here: nothing is collected any more
            self.result.append(self._work(project))
        except BaseException as error:  # raised again outside of pytest, which would print it
            self.error = error


def _declared_above(root: Path) -> tuple[str, ...]:
    """The files in the folders above the root folder that register checkpoints, within the repository."""
    found = []
    folder = root
    while folder != folder.parent and not (folder / ".git").exists():
        folder = folder.parent
        try:
            table = project_file.read(folder).file
        except UsageError as error:  # it has a mistake, so it has the table
            table = error.subject.partition(" ")[0]
        found += [str(folder / table)] if table else []
    return tuple(found)


def _same(one: Registration, other: Registration) -> bool:
    """Whether two tests register a checkpoint alike. Values in kwargs need not be comparable."""
    plain = (
        *("id", "path", "model", "key", "strip_prefix", "migrate", "version", "load", "policy", "level"),
        *("optimizer", "optimizer_path"),
    )
    return one is other or (
        all(getattr(one, name) == getattr(other, name) for name in plain)
        and repr(dict(one.kwargs)) == repr(dict(other.kwargs))
        and str(one.problem) == str(other.problem)  # two ids that are refused are no id
    )


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    usage = [line.partition("error: ")[2] for line in lines if line.startswith("pytest.main(): error: ")]
    errors = [line for line in lines if line.startswith(("ERROR", "E  ", "Exit:", "! _pytest", "mainloop"))]
    conftest = filter(None, [of_conftest(output, pytest_file.root_of(Path.cwd()))])
    return (*usage, *conftest, *errors, "pytest collected nothing")[0].removeprefix("ERROR: ")
