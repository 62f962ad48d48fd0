"""Shows a break after the tests of this project have passed, because a pass shows little of the tool."""

from __future__ import annotations

import pytest
from show_a_break import show

PASSED = pytest.StashKey[bool]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Notes whether the tests were run, and passed."""
    config = session.config
    is_worker = hasattr(config, "workerinput")
    config.stash[PASSED] = exitstatus == 0 and not config.option.collectonly and not is_worker


def pytest_unconfigure(config: pytest.Config) -> None:
    """Prints the break below pytest's last line."""
    if config.stash.get(PASSED, False):
        config.get_terminal_writer().line(f"\n{show()}")
