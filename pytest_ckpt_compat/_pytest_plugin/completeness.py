"""Whether a run was complete. Only after a complete run is a snapshot known to be unused."""

from __future__ import annotations

import pytest

from pytest_ckpt_compat._registry.names import MARKER

#: Options that leave tests out, or the ``conftest.py`` that registers checkpoints.
_NARROWING = ("keyword", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "noconftest")

#: Options with which no test is run.
_PLANNING = ("collectonly", "setuponly", "setupplan")

#: Settings that say what is collected; one that is overridden for a run may leave tests out.
_COLLECTING = ("python_files", "python_classes", "python_functions", "testpaths", "norecursedirs")


def ran_everything(session: pytest.Session) -> bool:
    """Whether the run covered every checkpoint of the project and came to its end."""
    planned = any(session.config.getoption(name, False) for name in _PLANNING)
    return not planned and not was_stopped(session) and asked_for_everything(session.config)


def was_stopped(session: pytest.Session) -> bool:
    """Whether the run ended before all its tests had run."""
    ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    return bool(session.shouldfail or session.shouldstop or not ended)


def asked_for_everything(config: pytest.Config) -> bool:
    """Whether no option leaves a checkpoint out; ``-m checkpoint`` leaves none."""
    narrowed = any(getattr(config.option, name, None) for name in _NARROWING)
    overridden = (each.partition("=")[0].strip() for each in config.option.override_ini or ())
    narrowed = narrowed or not set(_COLLECTING).isdisjoint(overridden)
    marks = getattr(config.option, "markexpr", "") in ("", None, MARKER)
    return marks and not narrowed and _whole_project(config) and not _cuts_conftests(config)


def _cuts_conftests(config: pytest.Config) -> bool:
    """Whether ``--confcutdir`` leaves out the ``conftest.py`` of the root folder."""
    cut = getattr(config.option, "confcutdir", None)
    root = config.rootpath.resolve()
    return cut is not None and (config.invocation_params.dir / cut).resolve() not in (root, *root.parents)


def _whole_project(config: pytest.Config) -> bool:
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        return True
    here, root = config.invocation_params.dir, config.rootpath.resolve()  # which may be below a link
    return all((here / argument).resolve() == root for argument in config.args)
