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
from types import FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

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
        _look_for_plain_functions_first()
    _remember_arguments()
    if hasattr(FixtureManager, "_check_for_wrapped_fixture"):  # not all versions of pytest look
        FixtureManager._check_for_wrapped_fixture = lambda self, name, obj: None  # type: ignore[method-assign]
    if hasattr(fixtures, "FixtureFunctionDefinition"):  # not all versions of pytest have a class for them
        _name_hooks_and_fixtures_alone()
    if hasattr(
        catching_logs, "attached_loggers"
    ):  # not all versions of pytest have other loggers than the root
        catching_logs.__enter__ = _on_the_root_alone  # type: ignore[method-assign]


def _look_for_plain_functions_first() -> None:
    """Lets pluggy look at what else a hook may be, slot or descriptor, only where it is no plain function."""
    look = pluggy_manager._static_hook_attr

    def static_hook_attr(plugin: object, name: str) -> Any:
        if type(plugin) is ModuleType:
            value = vars(plugin).get(name)
            return (value, value) if type(value) is FunctionType else look(plugin, name)
        if isinstance(plugin, type) or name in getattr(plugin, "__dict__", ()):
            return look(plugin, name)
        value = next((vars(each)[name] for each in type(plugin).__mro__ if name in vars(each)), None)
        return (value, MethodType(value, plugin)) if type(value) is FunctionType else look(plugin, name)

    pluggy_manager._static_hook_attr = static_hook_attr  # type: ignore[assignment]


def _remember_arguments() -> None:
    """Lets pluggy ask each function for its arguments once, though a run binds methods anew."""
    names = ("_hooks", "_decorators", "_impl")  # which of them, that depends on the version
    modules = [sys.modules.get(f"pluggy.{name}") for name in names]
    ask: Any = None
    known = {kind: WeakKeyDictionary[FunctionType, Any]() for kind in (FunctionType, MethodType)}

    def varnames(function: Any, **options: Any) -> Any:
        plain, answers = getattr(function, "__func__", function), known.get(type(function))
        if answers is None or type(plain) is not FunctionType:
            return ask(function, **options)
        if plain not in answers:
            answers[plain] = ask(function, **options)
        return answers[plain]

    for module in modules:
        if hasattr(module, "varnames"):
            ask, module.varnames = ask or module.varnames, varnames  # type: ignore[union-attr]


def _name_hooks_and_fixtures_alone() -> None:
    """Lets ``dir()``, by which a run looks for both, leave out all else in modules of pytest itself."""
    for module in [each for name, each in sys.modules.items() if name.partition(".")[0] == "_pytest"]:
        names = [
            name for name, each in vars(module).items() if name.startswith("pytest_") or _is_fixture(each)
        ]
        module.__dir__ = names.copy  # type: ignore[method-assign]


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
