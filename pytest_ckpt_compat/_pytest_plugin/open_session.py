"""Opens a run's session from the project's file and pytest's options."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.display import escape_what_cannot_be_shown
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._pytest_plugin.registrations import Registrations
from pytest_ckpt_compat._pytest_plugin.session import Session
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._registry.names import SNAPSHOT_DIR


def open_session(config: pytest.Config) -> Session:
    """A session with the run's settings.

    Raises:
        pytest.UsageError: the project's file, the name of a report or the reference is not valid.
    """
    escape_what_cannot_be_shown(sys.__stdout__, sys.__stderr__)  # pytest's own, while it captures
    try:
        settings = project_file.read(config.rootpath)
        _begin_reports(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    folder = config.rootpath / str(
        config.getini("ckpt_snapshot_dir") or settings.snapshot_dir or SNAPSHOT_DIR
    )
    session = Session(
        config=config,
        settings=settings,
        folder=folder,
        registrations=Registrations(config, settings, folder),
        update=bool(config.getoption("ckpt_update")),
        rewrite=frozenset(config.getoption("ckpt_rewrite")),
        merge_base=None,
        prune=bool(config.getoption("ckpt_prune")),
    )
    ref = config.getoption("ckpt_against")
    if ref is not None:
        try:
            _compare_with(session, ref, folder)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
    return session


def _begin_reports(config: pytest.Config) -> None:
    """Makes room for the reports, in the process that writes them.

    Raises:
        UsageError: one of their names is of no report.
    """
    files = config.getoption("ckpt_report") or ()
    if files and not hasattr(config, "workerinput"):
        from pytest_ckpt_compat._report.publish import begin

        begin(files, config.invocation_params.dir)


def _compare_with(session: Session, ref: str, folder: Path) -> None:
    from pytest_ckpt_compat._premerge.merge_base import GitMergeBase
    from pytest_ckpt_compat._pytest_plugin.merge_base_worker import serve

    if session.update:
        raise UsageError(
            "--ckpt-update", "records, and --ckpt-against compares", "record first, then compare"
        )
    session.merge_base = GitMergeBase(session.config.rootpath, ref, folder, serve)
