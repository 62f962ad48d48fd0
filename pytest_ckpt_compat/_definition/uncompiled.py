"""Keeps torch's compiler out of a process that does not use it."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

_NAME = "torch._dynamo"
#: Where torch keeps, on a function, what calls it out of the compiler's sight.
_DISABLED = "__dynamo_disable"


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Spares torch the import of its compiler inside the context, which takes a second and 80 MB.

    On meta, torch runs many operators in Python code that begins by hiding itself from the compiler, and
    imports it for that. As long as nothing else has imported it, there is nothing to hide from. Code that
    wants anything else of the compiler gets the real one.
    """
    if _NAME in sys.modules:
        yield
        return
    stand_in = _StandIn(_NAME)
    sys.modules[_NAME] = stand_in
    try:
        yield
    finally:
        stand_in.leave()


class _StandIn(ModuleType):
    """Stands in for the compiler where it is only asked not to look."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._functions: list[Any] = []
        #: ``inspect.getmodule`` asks every module for its file, and for no more. torch calls that while it
        #: imports parts of itself, and the compiler, if it came then, would find these half imported.
        self.__file__ = _file(name)

    def disable(self, function: Any, *_: Any, **__: Any) -> Any:
        """The function as it is."""
        self._functions.append(function)
        return function

    def leave(self) -> None:
        """Takes itself away, and what torch has kept of it: a compiler that comes later is asked again."""
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        for each in self._functions:
            vars(each).pop(_DISABLED, None)
        self._functions.clear()

    def __getattr__(self, name: str) -> Any:
        """What the real one has."""
        self.leave()
        return getattr(importlib.import_module(_NAME), name)


def _file(name: str) -> str | None:
    """The file of a module, which is not imported."""
    package = sys.modules[name.rpartition(".")[0]]
    spec = PathFinder.find_spec(name, package.__path__)
    return None if spec is None else spec.origin
