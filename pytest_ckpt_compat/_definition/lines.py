"""The lines of the user's code on which a definition's modules and tensors get their names.

Torch calls a hook whenever a module, parameter or buffer is registered. Only what the user's own code
registers itself has a line: what a container or a library registers is told by what holds it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import sysconfig
import weakref
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._definition.names import relative

if TYPE_CHECKING:
    from torch import nn

#: Methods by which a name comes to a module; what overrides one of them registers for its caller.
_REGISTERS = {"__setattr__", "add_module", "register_module", "register_parameter", "register_buffer"}
#: The name of what stands for all of this in a frame: our own register_parameter.
_OWN = {"register_on_meta"}

#: Module as it was built -> dotted name of each of its parts -> ``models/net.py:12``.
_LINES: weakref.WeakKeyDictionary[nn.Module, Mapping[str, str]] = weakref.WeakKeyDictionary()


class Registrations:
    """What was registered, on which line."""

    def __init__(self) -> None:
        """Nothing yet."""
        #: Id of a module -> the module, which keeps its id its own, and (what was registered, line) by name.
        self._found: dict[int, tuple[nn.Module, dict[str, tuple[Any, str]]]] = {}

    def __call__(self, module: nn.Module, name: str, value: Any) -> None:
        """Torch's hook."""
        line = _line(sys._getframe(1))
        self._found.setdefault(id(module), (module, {}))[1][name] = (value, line)

    def keep(self, module: Any) -> None:
        """Keeps the lines of a module that was built."""
        found: dict[str, str] = {}
        seen: set[int] = set()
        left: list[tuple[str, Any]] = [("", module)]
        while left:
            path, part = left.pop()
            if id(part) in seen:
                continue
            seen.add(id(part))
            inside = getattr(part, "_modules", {})
            for name, (value, line) in self._found.get(id(part), (part, {}))[1].items():
                if line and inside.get(name, value) is value:
                    found[f"{path}{name}"] = line
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


def _line(frame: FrameType | None) -> str:
    """The line that registers something, "" where it is none of the user's own code."""
    while frame is not None and frame.f_code.co_name in _REGISTERS | _OWN:
        frame = frame.f_back
    if frame is None:
        return ""
    file = _shown(frame.f_code.co_filename)
    return f"{file}:{frame.f_lineno}" if file else ""


@functools.cache
def _shown(file: str) -> str:
    """A file of the user's as reports name it; "" for what is installed, and for what is no file."""
    full = os.path.abspath(file)
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    inside = any(full.startswith(each + os.sep) for each in installed if each)
    packages = {"site-packages", "dist-packages"} & set(full.split(os.sep))
    return "" if inside or packages or not os.path.isfile(full) else relative(full)
