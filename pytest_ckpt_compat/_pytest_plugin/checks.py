"""The hooks of a run that has a session: where no checkpoint is registered, no test pays for them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_ckpt_compat._pytest_plugin.items import order_by_definition
from pytest_ckpt_compat._pytest_plugin.keys import PARTIAL, SESSION, is_marked, is_of_a_command
from pytest_ckpt_compat._registry.names import CONTRIBUTION, PARAMETER


@pytest.fixture(name=PARAMETER)
def _ckpt_registration(request: pytest.FixtureRequest) -> Any:
    return request.param


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Notes that a run is not complete."""
    for item in filter(is_marked, items):
        item.config.stash[PARTIAL] = True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Orders what the workers of xdist share, after every other plugin.

    One that divides a run among machines sees an order that is the same with and without workers.
    """
    yield
    if hasattr(config, "workerinput"):
        order_by_definition(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Prepares what goes on beside the tests, while nothing is captured."""
    if not session.config.getoption("collectonly"):
        session.config.stash[SESSION].begin(session.items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Checks before the body runs, in the call phase: a break is a failure, and no set-up error."""
    if is_marked(item):
        item.config.stash[SESSION].check(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts the contribution on the report: reports reach the controller even when a worker dies later."""
    report = yield
    if is_marked(item):
        contribution = item.config.stash[SESSION].contribution(item, report)
        if contribution:
            setattr(report, CONTRIBUTION, contribution)
        _shorten(report, call)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes snapshots; the only moment, and the only process, in which anything is written."""
    if _concludes(session.config):
        session.config.stash[SESSION].finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints what was recorded, and what passed with a warning."""
    if _concludes(config):
        config.stash[SESSION].summarize(terminalreporter)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the processes that the session has started."""
    config.stash[SESSION].close()


def _concludes(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput") and not is_of_a_command(config)


def _shorten(report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Leaves the headline in the summary and in JUnit; on CI, pytest would repeat the whole text there."""
    value = call.excinfo.value if call.excinfo else None
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(value, pytest.fail.Exception) and not value.pytrace:
        crash.message = crash.message.partition("\n")[0]
