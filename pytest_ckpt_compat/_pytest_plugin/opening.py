"""How a run's session is made: by the project's file, and by the options."""

from __future__ import annotations

import pytest

from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, UsageError
from pytest_ckpt_compat._pytest_plugin.session import Session
from pytest_ckpt_compat._registry import project_file as settings
from pytest_ckpt_compat._registry.names import SNAPSHOT_DIR


def from_config(config: pytest.Config) -> Session:
    """A session with a run's settings.

    Raises:
        pytest.UsageError: the project's file says something that cannot be meant.
    """
    try:
        found = settings.read(config.rootpath)
        if config.getoption("ckpt_report"):
            from pytest_ckpt_compat._report.publish import check_name

            check_name(config.getoption("ckpt_report"))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    folder = config.rootpath / str(config.getini("ckpt_snapshot_dir") or found.snapshot_dir or SNAPSHOT_DIR)
    update, ref = bool(config.getoption("ckpt_update")), config.getoption("ckpt_against")
    earlier = None
    if ref is not None:
        from pytest_ckpt_compat._premerge.git import base_of
        from pytest_ckpt_compat._premerge.merge_base_code import Earlier

        try:
            if update:
                raise UsageError(
                    "--ckpt-update", "records, and --ckpt-against compares", "record first, then compare"
                )
            earlier = Earlier(base_of(config.rootpath, ref, folder))
        except UsageError as error:
            pytest.exit(str(error), returncode=COULD_NOT_CHECK)
    return Session(
        config=config,
        settings=found,
        folder=folder,
        update=update,
        rewrite=frozenset(config.getoption("ckpt_rewrite")),
        earlier=earlier,
        prune=bool(config.getoption("ckpt_prune")),
    )
