"""The lines of the user's code on which a definition's modules and tensors get their names.

Torch calls a hook whenever a module, parameter or buffer is registered. Only what the user's own code
registers itself has a line: what a container or a library registers is told by what holds it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import weakref
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_ckpt_compat._definition.names import relative

if TYPE_CHECKING:
    from torch import nn

#: Methods by which a name comes to a module, our own among them; what overrides one registers for its caller.
_REGISTERS = frozenset(
    (
        "__setattr__",
        "add_module",
        "register_module",
        "register_parameter",
        "register_buffer",
        "register_on_meta",
    )
)

#: Start of the paths of Python's own modules.
_STANDARD = os.path.dirname(os.__file__) + os.sep

_Module: TypeAlias = "weakref.ref[nn.Module]"

#: Module as it was built -> dotted name of each of its parts -> ``models/net.py:12``.
_LINES: weakref.WeakKeyDictionary[nn.Module, Mapping[str, str]] = weakref.WeakKeyDictionary()


class Registrations:
    """What was registered, on which line. It keeps no module and no tensor alive."""

    def __init__(self) -> None:
        """Nothing yet."""
        from torch.nn import Module

        self._kind = Module
        #: Id of a module -> the module, and by name what was registered, if it is a module, and where.
        self._found: dict[int, tuple[_Module, dict[str, tuple[_Module | None, str, int]]]] = {}

    def __call__(self, module: nn.Module, name: str, value: Any) -> None:
        """Torch's hook."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_name in _REGISTERS:
            frame = frame.f_back
        known = self._found.get(id(module))
        if known is None or known[0]() is not module:
            known = self._found[id(module)] = (weakref.ref(module), {})
        file, line = ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        known[1][name] = (weakref.ref(value) if isinstance(value, self._kind) else None, file, line)

    def keep(self, module: Any) -> None:
        """Keeps the lines of a module that was built."""
        files = functools.cache(_shown)  # relative to the folder of this moment
        found: dict[str, str] = {}
        seen: set[int] = set()
        left: list[tuple[str, Any]] = [("", module)]
        while left:
            path, part = left.pop()
            if id(part) in seen:
                continue
            seen.add(id(part))
            inside = getattr(part, "_modules", {})
            whose, names = self._found.get(id(part), (None, {}))
            for name, (value, file, line) in names.items() if whose and whose() is part else ():
                shown = files(file)
                if shown and (value is None or value() is inside.get(name)):
                    found[f"{path}{name}"] = f"{shown}:{line}"
            left += [(f"{path}{name}.", each) for name, each in inside.items() if each is not None]
        with contextlib.suppress(TypeError):  # it cannot be hashed, or is no module
            _LINES[module] = found


@contextlib.contextmanager
def watched() -> Iterator[Registrations]:
    """Notes what is registered meanwhile."""
    from torch.nn.modules import module as hooks

    found = Registrations()
    handles = [
        hooks.register_module_module_registration_hook(found),
        hooks.register_module_parameter_registration_hook(found),
        hooks.register_module_buffer_registration_hook(found),
    ]
    try:
        yield found
    finally:
        for each in handles:
            each.remove()


def lines_of(module: nn.Module) -> Mapping[str, str]:
    """Dotted name of each part that the user's own code registered -> file and line; {} where not known."""
    try:
        return _LINES.get(module, {})
    except TypeError:
        return {}


def _shown(file: str) -> str:
    """A file of the user's as reports name it; "" for what is installed, and for what is no file."""
    if not os.path.isfile(file):
        return ""
    full = os.path.abspath(file)
    packages = {"site-packages", "dist-packages"} & set(full.split(os.sep))
    return "" if full.startswith(_STANDARD) or packages else relative(full)
