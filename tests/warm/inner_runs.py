"""What a run of pytest within a test need not do anew: thousands start in one process, or in its forks.

Each reads the metadata of all that is installed twice, to find plugins, and looks in every plugin for
fixtures whose decorators are in the wrong order. Both together are a third of an empty run.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from _pytest.fixtures import FixtureManager


class _Once(metadata.PathDistribution):
    """An installed distribution whose files and entry points are read once."""

    @functools.cached_property
    def entry_points(self) -> Any:
        return super().entry_points

    @functools.cached_property
    def files(self) -> Any:
        return super().files


def shorten() -> None:
    """Shortens the runs of pytest that this process and its forks start from here on."""
    _remember_installed()
    if hasattr(FixtureManager, "_check_for_wrapped_fixture"):  # not all versions of pytest look
        FixtureManager._check_for_wrapped_fixture = lambda self, name, obj: None  # type: ignore[method-assign]


def _remember_installed() -> None:
    """Lets ``importlib.metadata`` remember what is installed where this process looks for it by now.

    What a test adds to ``sys.path`` is read as ever.
    """
    read = metadata.distributions
    known = {folder: [_remembering(each) for each in read(path=[folder])] for folder in sys.path if folder}

    def distributions(**context: Any) -> Iterable[metadata.Distribution]:
        if context:
            return read(**context)
        found = (known[folder] if folder in known else read(path=[folder]) for folder in sys.path)
        return (each for some in found for each in some)

    metadata.distributions = distributions


def _remembering(distribution: metadata.Distribution) -> metadata.Distribution:
    if type(distribution) is metadata.PathDistribution:
        distribution.__class__ = _Once
        if any(each.group == "pytest11" for each in distribution.entry_points):
            _ = distribution.files
    return distribution
