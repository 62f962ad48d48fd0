"""Checkpoints registered without test code, as pytest items: ``pyproject.toml::classifier-v1``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._pytest_plugin.keys import REGISTRATIONS
from pytest_ckpt_compat._registry.registration import Registration, by_definition


class CheckpointItem(pytest.Item):
    """One registered checkpoint; the check itself is the plugin's, as for a marked test."""

    def runtest(self) -> None:
        """Does nothing: the plugin makes the check."""

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where the checkpoint is registered, and its id as the report's headline."""
        return self.path, None, f"checkpoint {self.name}"


class CheckpointFile(pytest.File):
    """The file that registers checkpoints."""

    #: Gives the registrations; set by ``collector_of``.
    find: Callable[[], tuple[Registration, ...]]

    def collect(self) -> Iterator[pytest.Item]:
        """An item for each registered checkpoint."""
        folder = str(self.path.parent)
        if folder not in sys.path:  # as pytest does for the folder of a test module
            sys.path.insert(0, folder)
        try:
            registrations = self.find()
        except UsageError as error:
            raise self.CollectError(str(error)) from error
        for registration in registrations:
            item = CheckpointItem.from_parent(self, name=_name(registration.id))
            item.add_marker(pytest.mark.checkpoint)
            item.stash[REGISTRATIONS] = (registration,)
            yield item


def order_by_definition(items: list[pytest.Item]) -> None:
    """Puts the checkpoints that are registered without test code in the order of their definitions.

    What else is in the list stays in its place.
    xdist hands out neighbours together: then few definitions are built by more than one worker.
    """
    places = [place for place, item in enumerate(items) if isinstance(item, CheckpointItem)]
    own = by_definition([items[place] for place in places], lambda item: item.stash[REGISTRATIONS][0])
    for place, item in zip(places, own, strict=True):
        items[place] = item


def _name(identifier: str) -> str:
    """The id as a terminal and an environment variable, into which pytest puts it, can take it."""
    encoding = sys.getfilesystemencoding()
    return visible(identifier).encode(encoding, "backslashreplace").decode(encoding)


def collector_of(
    path: Path, parent: pytest.Collector, find: Callable[[], tuple[Registration, ...]]
) -> CheckpointFile:
    """A collector for the file at ``path``."""
    collector: CheckpointFile = CheckpointFile.from_parent(parent, path=path)
    collector.find = find
    return collector
