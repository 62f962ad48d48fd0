"""The lines of the user's code on which a definition's modules and tensors get their names.

Torch calls a hook whenever a module, parameter or buffer is registered. Only what the user's own code
registers itself has a line: what a container or a library registers is told by what holds it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator, Sequence
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
_Names: TypeAlias = "dict[str, tuple[_Module | None, str, int]]"

#: What is known of a module of which nothing is.
_NOTHING: tuple[None, _Names] = (None, {})

#: Module as it was built -> what was registered meanwhile.
_KNOWN: weakref.WeakKeyDictionary[nn.Module, Registrations] = weakref.WeakKeyDictionary()


class Registrations:
    """What was registered, on which line. It keeps no module and no tensor alive."""

    def __init__(self) -> None:
        """Nothing yet."""
        from torch.nn import Module

        self._kind = Module
        #: Id of a module -> the module, and by name what was registered, if it is a module, and where.
        self._found: dict[int, tuple[_Module, _Names]] = {}
        self._shown: dict[str, str] = {}
        #: File with code that registered something -> whether it is the user's.
        self._users: dict[str, bool] = {}

    def __call__(self, module: nn.Module, name: str, value: Any) -> None:
        """Torch's hook."""
        frame: FrameType | None = sys._getframe(2)  # the nearest is torch's own, which calls its hooks
        while frame is not None and frame.f_code.co_name in _REGISTERS:
            frame = frame.f_back
        file = "" if frame is None else frame.f_code.co_filename
        if file not in self._users:
            self._users[file] = _is_users(file)
        known = self._found.get(id(module))
        if frame is None or not self._users[file]:  # as most: the layers of a library register their own
            if known is not None:
                known[1].pop(name, None)
            return
        if known is None or known[0]() is not module:
            known = self._found[id(module)] = (weakref.ref(module), {})
        known[1][name] = (weakref.ref(value) if isinstance(value, self._kind) else None, file, frame.f_lineno)

    def keep(self, module: Any) -> None:
        """Keeps what was registered for as long as the module lives that was built."""
        users = (file for file, is_users in self._users.items() if is_users)
        self._shown = {file: relative(file) for file in users}  # to the folder of this moment
        with contextlib.suppress(TypeError):  # it cannot be hashed, or is no module
            _KNOWN[module] = self

    def of(self, part: nn.Module) -> Sequence[tuple[str, str]]:
        """Name of each module, parameter and buffer that a module has as it was registered -> the line."""
        whose, names = self._found.get(id(part), _NOTHING)
        if whose is None or whose() is not part:
            return ()
        shown, inside = self._shown, part._modules
        return [
            (name, f"{shown[file]}:{line}")
            for name, (value, file, line) in names.items()
            if value is None or value() is inside.get(name)
        ]


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


def registered_in(module: nn.Module) -> Registrations:
    """What was registered while a module was built; nothing where that is not known."""
    try:
        return _KNOWN.get(module) or Registrations()
    except TypeError:
        return Registrations()


def _is_users(file: str) -> bool:
    """Whether a file is the user's, and not installed; nor is there one behind every name."""
    if not os.path.isfile(file):
        return False
    full = os.path.abspath(file)
    packages = {"site-packages", "dist-packages"} & set(full.split(os.sep))
    return not (full.startswith(_STANDARD) or packages)
