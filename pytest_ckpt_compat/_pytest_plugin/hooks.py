"""The pytest hooks: each hands over to the session, which is made when the first checkpoint is met."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ckpt_compat._pytest_plugin.keys import LOST, PARTIAL, SESSION, is_marked, is_of_a_command
from pytest_ckpt_compat._registry.names import CONTRIBUTION, OWN_FILE, PROJECT_FILES, SIGNATURE

if TYPE_CHECKING:
    from pytest_ckpt_compat._pytest_plugin.fixture import CkptCompat
    from pytest_ckpt_compat._pytest_plugin.items import CheckpointFile
    from pytest_ckpt_compat._pytest_plugin.session import Session


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
    wanted = ("ckpt_update", "ckpt_prune", "ckpt_against", "ckpt_report")
    if path is not None or is_of_a_command(config) or any(map(config.getoption, wanted)):
        session_of(config)  # a mistake in the file, or in a reference, stops the run before it begins


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CheckpointFile | None:
    """Collects the checkpoints that are registered without test code."""
    config = parent.config
    ours = file_path.name in PROJECT_FILES and file_path.parent == config.rootpath
    if ours and file_path == _declaring(config):
        return session_of(config).collector(file_path, parent)
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes an item for each checkpoint of a test."""
    if is_marked(metafunc.definition):
        session_of(metafunc.config).parametrize(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Reads the markers of each item, so that mistakes show at collection."""
    if is_marked(item):
        session_of(item.config).register(item)


@pytest.fixture
def ckpt_compat(request: pytest.FixtureRequest) -> CkptCompat:
    """The checkpoint that the test's marker registers: ``load()`` it, or ``check()`` others."""
    return session_of(request.config).fixture(request.node)


class Reports:
    """The hooks that may be the first to hear of a checkpoint: xdist's controller collects none."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        #: Tests whose workers have told which checkpoints they register.
        self._begun: set[str] = set()

    def __dir__(self) -> list[str]:
        """The hooks alone: pluggy and pytest look at everything that an object says it has."""
        return [name for name in vars(Reports) if name.startswith("pytest_")]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collects the contributions, in the one process that writes."""
        contribution = getattr(report, CONTRIBUTION, None)
        if report.outcome not in ("passed", "failed", "skipped"):
            return  # "rerun", of pytest-rerunfailures: what the test's last run finds counts
        if contribution is not None:
            session_of(self._config).collect(contribution)
        if report.when == "setup":
            self._begun.add(report.nodeid)
        elif report.when not in ("setup", "call", "teardown"):  # xdist's report of a dead worker
            self._config.stash[PARTIAL] = True
            if report.nodeid not in self._begun:  # nobody knows its checkpoints
                self._config.stash.setdefault(LOST, []).append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notes that a run is not complete: a skipped module may register checkpoints."""
        if not report.passed:
            self._config.stash[PARTIAL] = True


def _declaring(config: pytest.Config) -> Path | None:
    """The file whose items are the registered checkpoints, found by its bytes and not parsed."""
    there = [path for path in (config.rootpath / name for name in PROJECT_FILES) if path.is_file()]
    for path in there:
        from pytest_ckpt_compat._core.files import mentions

        if path.name == OWN_FILE or mentions(path, b"ckpt_compat"):
            return path
    hooked = config.hook.pytest_ckpt_compat_checkpoints.get_hookimpls()
    return there[-1] if there and hooked else None


def session_of(config: pytest.Config) -> Session:
    """The run's session, made on first use."""
    if SESSION not in config.stash:
        from pytest_ckpt_compat._pytest_plugin import checks
        from pytest_ckpt_compat._pytest_plugin.open_session import open_session

        config.stash[SESSION] = open_session(config)
        config.pluginmanager.register(checks, "ckpt_compat_checks")
    return config.stash[SESSION]
