"""The settings of a module as text: what its constructor was given, and the state_dict does not hold."""

from __future__ import annotations

import enum
import functools
import inspect
import keyword
import math
import re
import sys
import types
import unicodedata
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn

#: Attributes that decide nothing that is computed: where, or in how much memory, it is.
_NO_SETTINGS = frozenset(
    {
        *("training", "device", "inplace", "gradient_checkpointing"),
        *("enable_nested_tensor", "use_nested_tensor", "mask_check"),
    }
)
#: Settings of one module, items of one tuple, tuples in tuples, characters of a text and of all settings.
_MOST, _ITEMS, _DEPTH, _LONGEST_TEXT, _LONGEST = 100, 64, 3, 60, 2_000
#: Beyond it, an integer is an address or a time rather than a setting.
_LARGEST = 1 << 53
#: Digits of a float: fewer than it has, since the last ones differ from machine to machine.
_DIGITS = 12
_SECRET = re.compile(r"token|secret|passw|credential|api_?key", re.IGNORECASE)
#: Starts of what names a place on one machine: ``/data``, ``~/data``, ``C:\data``, ``s3://bucket``.
_PLACE = re.compile(r"(^|[\s=:,])([/~\\]|[A-Za-z]:[/\\])|://")
#: Where torch's functions have the names that people use.
_FUNCTIONS = ("torch.nn.functional", "torch", "torch.special", "math")


def settings_of(part: nn.Module) -> dict[str, str]:
    """Name of each setting -> its value, as Python writes it; sorted by name.

    A setting is a public attribute that holds plain data or names a function or a class. Nothing of the
    module's own code is run, and nothing raises: what has no text is left out, and so are places on one
    machine and what may be a secret.
    """
    own, kind = vars(part), cast(Any, type(part))
    names, constants = _names(kind, tuple(own))
    found: dict[str, str] = {}
    length = 0
    for name in names + constants:
        if len(found) == _MOST:
            break
        text = _text(name, own[name] if name in own else inspect.getattr_static(kind, name, part))
        if text and length + len(text) + len(name) <= _LONGEST:
            length += len(text) + len(name)
            found[name] = text
    return dict(sorted(found.items())) if len(found) > 1 else found


@functools.lru_cache(maxsize=1024)  # the modules of a class have the same ones
def _names(kind: type, own: tuple[object, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of an object's settings, then of those that its class declares constant.

    Args:
        kind: its class.
        own: the names of its own attributes.
    """
    names = tuple(name for name in own if isinstance(name, str) and _is_setting(name))
    return names, tuple(name for name in _constants(kind) if name not in own)


def _constants(kind: type) -> tuple[str, ...]:
    """The names that a class, or one that it is made of, declares constant."""
    declared = (vars(each).get("__constants__") for each in kind.__mro__)
    lists = (each for each in declared if isinstance(each, (list, tuple, set, frozenset)))
    return tuple(name for each in lists for name in each if isinstance(name, str) and _is_setting(name))


def _is_setting(name: str) -> bool:
    return not name.startswith("_") and name not in _NO_SETTINGS and _is_name(name)


def _is_name(text: str) -> bool:
    """Whether Python reads a text as a name, and as this one."""
    return text.isidentifier() and not keyword.iskeyword(text) and unicodedata.normalize("NFKC", text) == text


def _text(name: str, value: Any) -> str:
    """The value as Python writes it, or "" where it is no setting."""
    try:
        if isinstance(value, str) and not isinstance(value, enum.Enum) and _SECRET.search(name):
            return ""
        return _plain(value, 0)
    except Exception:  # a class of the user's may raise whatever is asked of it
        return ""


def _plain(value: Any, depth: int) -> str:
    if type(value) is int:  # as most are
        return int.__repr__(value) if abs(value) <= _LARGEST else ""
    if value is None or isinstance(value, (bool, enum.Enum)):
        return (
            _dotted(f"{name_of(type(value))}.{value.name}") if isinstance(value, enum.Enum) else repr(value)
        )
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, int):
        return int.__repr__(value) if abs(value) <= _LARGEST else ""
    if isinstance(value, float):
        return (
            float.__repr__(float(f"{value:.{_DIGITS}g}")) if math.isfinite(value) else float.__repr__(value)
        )
    if isinstance(value, str):
        kept = len(value) <= _LONGEST_TEXT and value.isprintable() and not _PLACE.search(value)
        return str.__repr__(value) if kept else ""
    if isinstance(value, (tuple, list)):
        return _tuple(value, depth)
    return _named(value)


def _tuple(value: tuple[Any, ...] | list[Any], depth: int) -> str:
    """A list is written as a tuple: which of the two it is decides nothing."""
    if len(value) > _ITEMS or depth == _DEPTH:
        return ""
    items = [_plain(item, depth + 1) for item in tuple(value)]
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})" if all(items) else ""


def _named(value: Any) -> str:
    """``torch.nn.functional.gelu``, ``torch.float32``: what has a name that is the same in every process."""
    if type(value).__module__ == "torch" and type(value).__name__ == "dtype":
        return str(value)
    if not isinstance(value, (types.BuiltinFunctionType, types.FunctionType, type)):
        return ""
    name = str(value.__name__)
    home = next((home for home in _FUNCTIONS if getattr(sys.modules.get(home), name, None) is value), None)
    if home is not None:
        return f"{home}.{name}"
    if isinstance(value, types.BuiltinFunctionType):
        return ""
    return _dotted(name_of(value))


def _dotted(name: str) -> str:
    return name if all(map(_is_name, name.split("."))) else ""


def name_of(kind: Any) -> str:
    """``models.Net``: where a class is defined; of torch's own classes the name that people use.

    Torch defines its layers in modules that it does not document (``torch.nn.modules.linear``): the
    outermost package that has the class under its name stands for them.
    """
    home = kind.__module__ if isinstance(kind.__module__, str) else ""
    if home.partition(".")[0] == "torch":
        parts = home.split(".")
        packages = (".".join(parts[:end]) for end in range(1, len(parts)))
        public = (each for each in packages if getattr(sys.modules.get(each), kind.__name__, None) is kind)
        home = next(public, home)
    return f"{home}.{kind.__qualname__}".removeprefix(".")


def is_defined(name: str) -> bool:
    """Whether the code that is imported now defines a class or function by the name that ``name_of`` gives.

    Torch's own always count. Another name for what is now called differently does not.
    """
    parts = name.split(".")
    if parts[0] == "torch":
        return True
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        for part in parts[end:] if found is not None else ():
            found = inspect.getattr_static(found, part, None)
        if isinstance(found, (type, types.FunctionType)):
            return name_of(found) == name
    return False
