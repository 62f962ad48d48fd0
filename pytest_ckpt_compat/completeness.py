"""Whether a run was complete: only then is a snapshot that nobody used known to be unused."""

from __future__ import annotations

import pytest

#: Options that leave tests out.
_NARROWING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly")


def ran_everything(session: pytest.Session) -> bool:
    """Whether the run was asked for every test of the project, and came to its end."""
    narrowed = any(getattr(session.config.option, name, None) for name in _NARROWING)
    stopped = session.shouldfail or session.shouldstop
    ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return ended and not (narrowed or stopped) and _whole_project(session.config)


def _whole_project(config: pytest.Config) -> bool:
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        return True
    here = config.invocation_params.dir
    return all((here / argument).resolve() == config.rootpath for argument in config.args)
