"""The project's settings as a commit has them, and the snapshot folder that they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._registry import project_file, pytest_file
from pytest_ckpt_compat._registry.names import OWN_FILE
from pytest_ckpt_compat._registry.project_file import Settings


def settings_at(base: git.Base, root: Path) -> Settings:
    """The settings of the project at a commit.

    Args:
        base: the commit.
        root: the project's root folder.

    Raises:
        UsageError: git cannot read the commit, or the settings there cannot be used.
    """

    def text_of(name: str) -> str | None:
        text = read(name)
        return text if text is not None and (name == OWN_FILE or "ckpt_compat" in text) else None

    read = _texts(base, root)
    return project_file.settings_in(text_of)


def _texts(base: git.Base, root: Path) -> Callable[[str], str | None]:
    """Name of a file in the root folder -> its text at a commit; UsageError where it cannot be read."""

    def text_of(name: str) -> str | None:
        try:
            return git.read(base, root / name, files.SETTINGS_BYTES)
        except ValueError as error:
            raise UsageError(name, f"cannot be read: {error}", "check the file") from error

    return text_of


def with_its_snapshots(base: git.Base, root: Path, folder: Path) -> git.Base:
    """The commit, whose snapshots are found where it kept them if it has none in today's folder."""
    if git.files(base, folder):
        return base
    try:
        before = root / pytest_file.snapshot_dir_in(_texts(base, root), settings_at(base, root))
    except UsageError:  # the comparison of the severities says so
        return base
    return replace(base, moved=(base.path_of(folder), base.path_of(before)))
