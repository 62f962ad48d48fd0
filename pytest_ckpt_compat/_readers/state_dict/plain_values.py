"""Converts a checkpoint's non-tensor values to plain data: dictionaries, lists, text and numbers.

An object becomes the dictionary of its items or attributes, a ``Record``: ``args.lr`` of an
``argparse.Namespace`` is ``values["args"]["lr"]``. Dictionaries omit tensors; lists and tuples hold
None for them. A value without a plain form (a class, a function, a module, a value beyond the
limits) becomes an ``Opaque`` with its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pytest_ckpt_compat._core.records import Record
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, Skipped, Storage, Tensor
from pytest_ckpt_compat._readers.state_dict import numpy_values
from pytest_ckpt_compat._readers.state_dict.modules import is_module


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value without a plain form.

    Attributes:
        name: the class or function that it is, or that would have made it.
    """

    name: str

    def __repr__(self) -> str:
        return f"<{self.name}>"


_SIMPLE = frozenset({type(None), bool, int, float, complex, str, bytes})
#: A number of levels above the limit.
_TOO_MANY = limits.DEPTH + 1


def plain_values(root: Any) -> dict[str, Any]:
    """Returns a checkpoint's plain values by name; none if it is neither a dictionary nor an object."""
    values = None if is_module(root) else _Walk().convert(root)
    return (
        {name: value for name, value in values.items() if type(name) is str}
        if isinstance(values, dict)
        else {}
    )


def already_plain(items: Mapping[Any, Any], known: dict[int, int]) -> dict[Any, Any]:
    """Selects the items that are plain data without conversion, so that code gets what was saved.

    Args:
        items: inert values by name.
        known: a cache that calls for the same file share, empty at first: id of a container -> its levels.
    """
    return {name: value for name, value in items.items() if _levels(value, 0, known) <= limits.DEPTH}


def _levels(value: Any, above: int, known: dict[int, int]) -> int:
    """Returns how many levels of plain containers a value has; too many if part of it is not plain.

    Each container is visited once, however many others hold it.
    """
    if type(value) in _SIMPLE:
        return 0
    if id(value) in known:
        return known[id(value)]
    plain = type(value) in (list, tuple) or (type(value) is dict and all(type(n) in _SIMPLE for n in value))
    levels = known[id(value)] = _TOO_MANY  # the answer for a value that contains itself
    if plain and above <= limits.DEPTH:
        items = value.values() if type(value) is dict else value
        levels = known[id(value)] = 1 + max((_levels(item, above + 1, known) for item in items), default=0)
    return levels


class _Walk:
    """One conversion, with the number of converted values and those being converted now."""

    def __init__(self) -> None:
        self.converted = 0
        self.active: set[int] = set()

    def convert(self, value: Any) -> Any:
        kind = type(value)
        self.converted += 1
        if kind in _SIMPLE:
            return value
        if kind is Global:
            return Opaque(str(value))
        if kind is Tensor or kind is Storage:
            return None
        if kind is Skipped:
            return Opaque(f"{value.kind} of {value.length:,} bytes")
        if id(value) in self.active:
            return Opaque("a value inside itself")
        if len(self.active) >= limits.DEPTH or self.converted > limits.VALUES:
            return Opaque("a value beyond the limits")
        self.active.add(id(value))
        try:
            return self.made(value) if kind is Made else self.collection(value)
        finally:
            self.active.remove(id(value))

    def collection(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.mapping(value)
        if isinstance(value, list):
            return [self.convert(item) for item in value]
        if isinstance(value, tuple):
            return tuple([self.convert(item) for item in value])
        return type(value)(self.key(item) for item in value)

    def mapping(self, items: dict[Any, Any]) -> dict[Any, Any]:
        return {
            self.key(name): self.convert(item)
            for name, item in items.items()
            if type(item) is not Tensor and type(item) is not Storage
        }

    def key(self, key: Any) -> Any:
        """Converts a key or set element. An object becomes opaque: its plain form is not hashable."""
        if type(key) is Made:
            return Opaque(_name(key))
        if type(key) is tuple:
            return tuple([self.key(item) for item in key])
        return self.convert(key)

    def made(self, value: Made) -> Any:
        name = _name(value)
        if is_module(value):
            return Opaque(name)
        if name in _BY_NAME:
            return self.special(_BY_NAME[name], value)
        if name.startswith("pathlib.") and all(type(part) is str for part in value.args):
            return str(PurePosixPath(*value.args))
        if name.startswith("numpy."):
            return numpy_values.plain(value, name, Opaque(name))
        attributes = _attributes(value.state)
        if name.startswith("omegaconf."):
            for inner in ("_content", "_val"):
                if inner in attributes:
                    content = self.convert(attributes[inner])
                    return Record(content, name) if type(content) is dict else content
        if value.entries is not None:
            return Record(self.mapping(value.entries), name)
        if value.elements is not None:
            return [self.convert(item) for item in value.elements]
        return Record(self.mapping(attributes), name) if attributes else Opaque(name)

    def special(self, kind: str, value: Made) -> Any:
        if kind == "device":
            return ":".join(str(part) for part in value.args if type(part) in (str, int))
        if kind == "mapping":
            items = value.entries or next((arg for arg in value.args if isinstance(arg, dict)), {})
            return self.mapping(items)
        if kind == "bytes":
            return bytes(value.args[0]) if value.args and type(value.args[0]) is bytes else b""
        return [self.convert(item) for item in value.elements or ()]


_BY_NAME = {
    "torch.device": "device",
    "collections.defaultdict": "mapping",
    "collections.Counter": "mapping",
    "collections.deque": "list",
    "builtins.bytearray": "bytes",
    "builtins.bytes": "bytes",
}


def _name(value: Made) -> str:
    maker = value.maker
    if type(maker) is Global:
        if maker.module == "copyreg" and value.args and type(value.args[0]) is Global:
            return str(value.args[0])
        return str(maker)
    return "an object of an unknown class"


def _attributes(state: Any) -> dict[Any, Any]:
    """Returns the attributes in a pickled state: a dictionary, or a pair of it and the ``__slots__``."""
    if isinstance(state, dict):
        return state
    if type(state) is tuple and len(state) == 2:
        return {name: item for part in state if isinstance(part, dict) for name, item in part.items()}
    return {}
