"""What depends on its arguments alone: functions and classes of Python's and torch's that code may call."""

from __future__ import annotations

import builtins
import re
import sys
import types
from collections import OrderedDict
from typing import Any

#: The flag of a class that is made by a class statement: others never change.
HEAP = 1 << 9
#: Functions of Python itself that depend on their arguments alone, and on what these hold.
_PURE = frozenset(
    {
        *("abs", "all", "any", "bin", "callable", "chr", "divmod", "format", "hex", "isinstance"),
        *("issubclass", "iter", "len", "max", "min", "next", "oct", "ord", "pow", "print", "repr", "round"),
        *("setattr", "sorted", "sum", "__build_class__"),
    }
)
#: Modules in C in which everything depends on its arguments alone.
_PURE_MODULES = frozenset(
    {"math", "_operator", "_functools", "_collections", "_abc", "functools", "itertools"}
)
#: Classes in C of which everything depends on its arguments and its object alone.
_PURE_CLASSES = frozenset(
    {
        *(str, bytes, int, float, complex, bool, tuple, list, dict, set, frozenset, OrderedDict),
        *(object, type, super, range, zip, map, filter, enumerate, reversed, slice),
        *(property, staticmethod, classmethod),
    }
)
#: Names of torch's functions that tell how it is set.
_ASKING = re.compile(r"(get|is|are|has|current|initial)_|.*_(enabled|initialized|state|count|size|rank)$")
#: Those of them that depend on their arguments, or on what is compared of torch's settings in ``reads``.
_KNOWN = frozenset(
    {
        *("is_tensor", "is_storage", "is_floating_point", "is_complex", "is_available", "is_built"),
        *("get_default_dtype", "get_default_device", "is_grad_enabled", "is_inference_mode_enabled"),
        *("get_num_threads", "are_deterministic_algorithms_enabled", "get_float32_matmul_precision"),
        *("get_fastpath_enabled", "is_initialized", "get_world_size", "get_rank"),
    }
)


def is_pure(value: Any) -> bool:
    """Whether a value does, if it is called, what its Python code and its arguments say."""
    if isinstance(value, (types.BuiltinFunctionType, types.FunctionType)) and _asks_torch(value):
        return False
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        if isinstance(owner, types.ModuleType):
            pure = owner.__name__ in _PURE_MODULES or root(owner.__name__) == "torch"
            return pure or (owner is builtins and value.__name__ in _PURE)
        if type(owner) in (list, dict, set, OrderedDict, bytearray):
            return False  # a method of something that may change
        kind = owner if isinstance(owner, type) else type(owner)
        return kind in _PURE_CLASSES or root(kind.__module__) == "torch"
    if isinstance(value, types.ModuleType):
        return type(value) is types.ModuleType  # others compute what they give, as torch.backends.cudnn
    if not isinstance(value, type) or value in _PURE_CLASSES or issubclass(value, BaseException):
        return True
    if root(value.__module__) in ("torch", *_PURE_MODULES):
        return True
    if value.__module__ == "numpy" and not value.__flags__ & HEAP:  # dtypes, in C
        return True
    file = getattr(sys.modules.get(value.__module__), "__file__", None) or ""
    return bool(value.__flags__ & HEAP) and file.endswith(".py")


def _asks_torch(function: Any) -> bool:
    """Whether a function tells something of torch's state that is not compared."""
    owner = getattr(function, "__self__", None)
    home = owner.__name__ if isinstance(owner, types.ModuleType) else function.__module__
    name = function.__name__
    return root(home) == "torch" and name not in _KNOWN and bool(_ASKING.match(name))


def root(name: str | None) -> str:
    return (name or "").partition(".")[0]
