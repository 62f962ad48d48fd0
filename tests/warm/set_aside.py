"""Packages whose modules have run already, and which no process has imported until it does.

To run the modules of this project anew, and those of pytest's plugins, is most of what a short process
does. Here they run once, in the server; ``sys.modules`` holds none of them then, and an import of one in a
fork puts it there, and what it imports with it, as a run of its code would.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import importlib
import pkgutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from types import ModuleType
from typing import Any

import pytest
from _pytest import assertion


def set_aside(name: str) -> Mapping[str, ModuleType]:
    """Runs all modules of a package and the plugins of pytest, and lets imports find them from here on.

    Returns:
        The modules, by their names.
    """
    before = set(sys.modules)
    with _noted() as imported:
        package = importlib.import_module(name)
        for each in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not each.name.endswith(".__main__"):
                importlib.import_module(each.name)
        for plugin in metadata.entry_points(group="pytest11"):
            with contextlib.suppress(ImportError):  # the process that needs it is told
                importlib.import_module(plugin.module)
    packages = set(map(_package, sys.modules)) - set(map(_package, before)) - sys.stdlib_module_names
    modules = {each: sys.modules.pop(each) for each in list(sys.modules) if _package(each) in packages}
    for whole, module in modules.items():
        parent, _, own = whole.rpartition(".")
        if parent and getattr(modules[parent], own, None) is module:
            delattr(modules[parent], own)  # an import sets it
    finder = _Finder(modules, imported)
    sys.meta_path.insert(0, finder)
    _stay_first(finder)
    return modules


def _package(module: str) -> str:
    return module.partition(".")[0]


def _stay_first(finder: MetaPathFinder) -> None:
    """Lets a run of pytest, which reads the modules of its plugins by itself, ask the finder before."""
    install = assertion.install_importhook

    def install_importhook(config: pytest.Config) -> Any:
        hook = install(config)
        sys.meta_path.remove(finder)
        sys.meta_path.insert(0, finder)
        return hook

    assertion.install_importhook = install_importhook


@contextlib.contextmanager
def _noted() -> Iterator[Mapping[str, Sequence[str]]]:
    """Notes which modules each module imports, in order."""
    plain, found = builtins.__import__, defaultdict[str, list[str]](list)

    def noting(name: str, where: Any = None, here: Any = None, given: Any = (), level: int = 0) -> Any:
        module = plain(name, where, here, given, level)
        if where:
            whole = resolve_name("." * level + name, where["__package__"]) if level else name
            names = (whole, *(f"{whole}.{each}" for each in given or ()))
            found[where["__name__"]] += (each for each in names if each in sys.modules)
        return module

    builtins.__import__ = noting  # type: ignore[assignment]  # imports give all by position
    try:
        yield found
    finally:
        builtins.__import__ = plain


class _Finder(MetaPathFinder):
    """Finds the modules that are set aside where another finder would find the file of their package."""

    def __init__(self, modules: Mapping[str, ModuleType], imported: Mapping[str, Sequence[str]]) -> None:
        self._modules = modules
        self._imported = imported

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        module, parent = self._modules.get(name), name.rpartition(".")[0]
        if module is None or module.__spec__ is None:
            return None
        if parent and sys.modules.get(parent) is not self._modules[parent]:
            return None
        if not parent:
            others = (each.find_spec(name, path, target) for each in sys.meta_path if each is not self)
            spec = next(filter(None, others), None)
            if spec is None or spec.origin != module.__file__:
                return spec
        spec = copy.copy(module.__spec__)
        spec.loader = _Loader(module, self._imported.get(name, ()))
        return spec


class _Loader(Loader):
    """Gives a module that has run; only what it imports is left to do."""

    def __init__(self, module: ModuleType, imported: Sequence[str]) -> None:
        self._module = module
        self._imported = imported

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__  # type: ignore[assignment]
        for name in self._imported:
            if name not in sys.modules:
                importlib.import_module(name)
