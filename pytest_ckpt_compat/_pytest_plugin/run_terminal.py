"""The terminal of a run of pytest, on which it is shown what takes long."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_ckpt_compat._pytest_plugin.progress import Progress, Terminal, terminal_of


class RunTerminal:
    """Shows what is being done behind what pytest has written in the line.

    Args:
        config: pytest's.
        terminal: where pytest writes.
    """

    def __init__(self, config: pytest.Config, terminal: Terminal) -> None:
        self._config, self._terminal = config, terminal
        self._progress = Progress(terminal)
        self.say = self._progress.say

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Shows what the work inside does."""
        writer = self._config.get_terminal_writer()
        with self._progress.watched(writer.width_of_current_line):
            yield

    def close(self) -> None:
        """Lets the terminal go."""
        self._terminal.close()


def find_terminal(config: pytest.Config) -> RunTerminal | None:
    """The terminal of a run, if pytest's own reporter alone writes on it; call it while nothing is captured.

    There is none with ``-q``, in a worker of xdist, in the log of a CI run, or where a plugin draws a screen
    of its own. With ``-s``, the terminal belongs to what the tests print.
    """
    reporter = config.pluginmanager.getplugin("terminalreporter")
    alone = type(reporter) is pytest.TerminalReporter and not config.pluginmanager.hasplugin("dsession")
    captured = config.getoption("capture") in ("fd", "sys")
    if not alone or not captured or config.get_verbosity() < 0:
        return None
    terminal = terminal_of(sys.stdout, os.environ)
    return None if terminal is None else RunTerminal(config, terminal)
