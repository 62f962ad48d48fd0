"""The pytest hooks: each hands over to the session, which is made when the first checkpoint is met."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ckpt_compat._pytest_plugin.keys import SESSION
from pytest_ckpt_compat._registry.names import MARKER, OWN_FILE, PARAMETER, PROJECT_FILES, SIGNATURE

if TYPE_CHECKING:
    from pytest_ckpt_compat._pytest_plugin.fixture import CkptCompat
    from pytest_ckpt_compat._pytest_plugin.items import CheckpointFile
    from pytest_ckpt_compat._pytest_plugin.session import Session

#: The attribute of a test report that carries what the item adds to the run, as JSON text.
_CONTRIBUTION = "ckpt_compat"


class Hooks:
    """The hooks that this plugin calls."""

    @pytest.hookspec
    def pytest_ckpt_compat_checkpoints(self, config: pytest.Config) -> list[dict[str, Any]] | None:
        """Registers more checkpoints: tables like those of ``[[tool.ckpt_compat.checkpoint]]``."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Adds the hook through which a project's own registry contributes checkpoints."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the command-line options and the ini setting."""
    group = parser.getgroup("checkpoint compatibility")
    group.addoption(
        "--ckpt-update",
        action="store_true",
        help="record missing snapshots, and those of definitions that have changed; the snapshot of a "
        "checkpoint is frozen",
    )
    group.addoption(
        "--ckpt-rewrite",
        action="append",
        default=[],
        metavar="ID",
        help="with --ckpt-update: record the frozen snapshot of this checkpoint anew",
    )
    group.addoption(
        "--ckpt-against",
        metavar="REF",
        help="fail on what this branch breaks since it left REF (origin/main); list what broke before",
    )
    group.addoption(
        "--ckpt-report",
        metavar="FILE",
        action="append",
        help="write a report on all checkpoints, by suffix: .json, .md, .html, .sarif, .codequality.json; "
        "may be given again",
    )
    group.addoption(
        "--ckpt-prune",
        action="store_true",
        help="remove the snapshots that no test of a complete run uses",
    )
    parser.addini("ckpt_snapshot_dir", "folder of the snapshots, relative to the root folder", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and the hooks that need the configuration."""
    config.pluginmanager.register(Reports(config), "ckpt_compat_reports")
    purpose = "fail unless the checkpoint at path still loads into model"
    config.addinivalue_line("markers", f"{SIGNATURE}: {purpose}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Collects the registered checkpoints even where the project's ``testpaths`` would leave them out."""
    config = session.config
    path = _declaring(config)
    if path is not None and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args.append(str(path))
    collecting = getattr(config.option, "ckpt_collecting", False)
    wanted = config.getoption("ckpt_against") is not None or config.getoption("ckpt_report") or collecting
    if path is not None or wanted:
        session_of(config)  # a mistake in the file, or in a reference, stops the run before it begins


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the processes that the session has started."""
    if SESSION in config.stash:
        config.stash[SESSION].close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CheckpointFile | None:
    """Collects the checkpoints that are registered without test code."""
    config = parent.config
    ours = file_path.name in PROJECT_FILES and file_path.parent == config.rootpath
    if ours and file_path == _declaring(config):
        return session_of(config).collector(file_path, parent)
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes an item for each checkpoint of a test."""
    if _is_marked(metafunc.definition):
        session_of(metafunc.config).parametrize(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Reads the markers of each item, so that mistakes show at collection."""
    if _is_marked(item):
        session_of(item.config).register(item)


def _shorten(report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Leaves the headline in the summary and in JUnit; on CI, pytest would repeat the whole text there."""
    value = call.excinfo.value if call.excinfo else None
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(value, pytest.fail.Exception) and not value.pytrace:
        crash.message = crash.message.partition("\n")[0]


@pytest.fixture
def ckpt_compat(request: pytest.FixtureRequest) -> CkptCompat:
    """The checkpoint that the test's marker registers: ``load()`` it, or ``check()`` others."""
    return session_of(request.config).fixture(request.node)


@pytest.fixture(name=PARAMETER)
def _ckpt_registration(request: pytest.FixtureRequest) -> Any:
    return request.param


class Checks:
    """The hooks on each test; where no checkpoint is registered, no test pays for them."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Checks before the body runs, in the call phase: a break is a failure, and no set-up error."""
        if _is_marked(item):
            session_of(item.config).check(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Puts the contribution on the report: reports reach the controller even when a worker dies later."""
        report = yield
        if _is_marked(item):
            setattr(report, _CONTRIBUTION, session_of(item.config).contribution(item, report))
            _shorten(report, call)
        return report


class Reports:
    """The hooks that see the whole run; in the controller they see what the workers report."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collects the contributions, in the one process that writes."""
        contribution = getattr(report, _CONTRIBUTION, None)
        if report.outcome not in ("passed", "failed", "skipped"):
            return  # "rerun", of pytest-rerunfailures: what the test's last run finds counts
        if contribution is not None:
            session_of(self._config).collect(contribution)
        elif report.when not in ("setup", "call", "teardown"):  # xdist's report of a dead worker
            session_of(self._config).partial = True

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Notes that a run is not complete."""
        if any(_is_marked(item) for item in items):
            session_of(self._config).partial = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notes that a run is not complete: a skipped module may register checkpoints."""
        if not report.passed:
            session_of(self._config).partial = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Prepares what goes on beside the tests, while nothing is captured."""
        if SESSION in self._config.stash and not self._config.getoption("collectonly"):
            session_of(self._config).begin(session.items)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes snapshots; the only moment, and the only process, in which anything is written."""
        if self._wanted():
            session_of(self._config).finish(session)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints what was recorded, and what passed with a warning."""
        if self._wanted():
            session_of(self._config).summarize(terminalreporter)

    def _wanted(self) -> bool:
        wanted = any(
            map(self._config.getoption, ("ckpt_update", "ckpt_prune", "ckpt_against", "ckpt_report"))
        )
        ours = hasattr(self._config, "workerinput") or getattr(self._config.option, "ckpt_collecting", False)
        return not ours and (wanted or SESSION in self._config.stash)


def _declaring(config: pytest.Config) -> Path | None:
    """The file whose items are the registered checkpoints, found by its bytes and not parsed."""
    there = [path for path in (config.rootpath / name for name in PROJECT_FILES) if path.is_file()]
    for path in there:
        from pytest_ckpt_compat._core.files import mentions

        if path.name == OWN_FILE or mentions(path, b"ckpt_compat"):
            return path
    hooked = config.hook.pytest_ckpt_compat_checkpoints.get_hookimpls()
    return there[-1] if there and hooked else None


def _is_marked(item: pytest.Item) -> bool:
    """Whether a test registers checkpoints; its keywords, which hold its markers, say so at less cost."""
    return MARKER in item.keywords and item.get_closest_marker(MARKER) is not None


def session_of(config: pytest.Config) -> Session:
    """The run's session, made on first use."""
    if SESSION not in config.stash:
        from pytest_ckpt_compat._pytest_plugin.open_session import open_session

        config.stash[SESSION] = open_session(config)
        config.pluginmanager.register(Checks(), "ckpt_compat_checks")
    return config.stash[SESSION]
