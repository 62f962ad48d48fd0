"""What a run of pytest within a test need not do anew: thousands start in one process, or in its forks.

Each reads the metadata of all that is installed, and of every plugin, looks in every plugin for hooks and
fixtures, and for those whose decorators are in the wrong order, and gives some hundred loggers a handler in
each phase of a test. Together they are more than half of an empty run.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable
from importlib import metadata
from types import FunctionType, ModuleType
from typing import Any

import pluggy
from _pytest import fixtures
from _pytest.fixtures import FixtureManager
from _pytest.logging import catching_logs
from pluggy import _manager as pluggy_manager


class _Once(metadata.PathDistribution):
    """An installed distribution whose metadata, files and entry points are read once."""

    @functools.cached_property
    def metadata(self) -> Any:
        return super().metadata

    @functools.cached_property
    def entry_points(self) -> Any:
        return super().entry_points

    @functools.cached_property
    def files(self) -> Any:
        return super().files


def shorten() -> None:
    """Shortens the runs of pytest that this process and its forks start from here on."""
    _remember_installed()
    pluggy.__version__ = pluggy.__version__  # some versions of it read their metadata for every look at this
    if hasattr(pluggy_manager, "_static_hook_attr"):  # some versions ask the object itself for its hooks
        _take_functions_of_modules_as_they_are()
    if hasattr(FixtureManager, "_check_for_wrapped_fixture"):  # not all versions of pytest look
        FixtureManager._check_for_wrapped_fixture = lambda self, name, obj: None  # type: ignore[method-assign]
    if hasattr(fixtures, "FixtureFunctionDefinition"):  # not all versions of pytest have a class for them
        _pass_over_plugins_without_fixtures()
    if hasattr(
        catching_logs, "attached_loggers"
    ):  # not all versions of pytest have other loggers than the root
        catching_logs.__enter__ = _on_the_root_alone  # type: ignore[method-assign]


def _take_functions_of_modules_as_they_are() -> None:
    """Lets pluggy look for what might be bound to a plugin only where there is something to bind to."""
    look = pluggy_manager._static_hook_attr

    def static_hook_attr(plugin: object, name: str) -> Any:
        value = vars(plugin).get(name) if type(plugin) is ModuleType else None
        return (value, value) if type(value) is FunctionType else look(plugin, name)

    pluggy_manager._static_hook_attr = static_hook_attr  # type: ignore[assignment]


def _pass_over_plugins_without_fixtures() -> None:
    """Lets no run look for fixtures in those modules of pytest itself that have none."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "_pytest"]
    without = {module for module in modules if not any(map(_is_fixture, vars(module).values()))}
    look = FixtureManager.pytest_plugin_registered

    def pytest_plugin_registered(self: FixtureManager, plugin: Any, plugin_name: str) -> None:
        if not isinstance(plugin, ModuleType) or plugin not in without:
            look(self, plugin, plugin_name)

    FixtureManager.pytest_plugin_registered = pytest_plugin_registered  # type: ignore[method-assign]


def _is_fixture(value: object) -> bool:
    return isinstance(value, fixtures.FixtureFunctionDefinition)


def _on_the_root_alone(self: catching_logs[Any]) -> Any:
    """Begins to catch what loggers pass on; the many of torch that keep theirs are none of a test's."""
    root = logging.getLogger()
    root.addHandler(self.handler)
    self.attached_loggers.append(root)
    if self.level is not None:
        self.handler.setLevel(self.level)
        self.orig_level = root.level
        root.setLevel(min(root.level, self.level))
    return self.handler


def _remember_installed() -> None:
    """Lets ``importlib.metadata`` remember what is installed where this process looks for it by now.

    What a test adds to ``sys.path`` is read as ever.
    """
    read = metadata.distributions
    find = metadata.MetadataPathFinder.find_distributions  # a backport, once imported, finds all once more
    context = metadata.DistributionFinder.Context
    known = {
        folder: [_remembering(each) for each in find(context(path=[folder]))] for folder in sys.path if folder
    }

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
