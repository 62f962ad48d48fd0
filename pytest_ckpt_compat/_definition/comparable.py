"""Values that can be compared with what they were: by what they hold, or by being the same object."""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytest_ckpt_compat._definition.pure import HEAP, is_pure, root

#: What stands for a value of which nothing says whether it is as it was.
OPAQUE = object()
#: Values in one collection and all that it holds, and collections in collections.
_MOST, _DEPTH = 1_000, 8
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})


class Same:
    """Equal to what stands for the same object, which it keeps alive."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


#: Classes of what does not change: to be the same object says all.
_SAME = (
    type,
    types.BuiltinFunctionType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.ModuleType,
)
#: Classes of what may be called.
_CALLED = (types.BuiltinFunctionType, types.FunctionType, type)


def plain(value: Any) -> Any:
    """What equals that of another value only if both are alike; ``OPAQUE`` where nothing can say so.

    Collections of Python's own count by what they hold, in order, and by which of them are one object;
    functions by their code, defaults and attributes; members of an enum by their attributes. A class or
    module counts by being the same, so that what is in it has to be noted apart: where one is held by
    something else, nothing can say so. Nor of a function that may give one thing now and another later. No
    code of the user's is run.
    """
    return _all_plain([value])[0]


def plain_call(target: Any) -> Any:
    """What equals that of the same class or function only while its own arguments are alike.

    Those are the defaults of a function, and what a ``functools.partial`` gives. A class is noted where its
    methods are called. ``OPAQUE`` for what has a state of its own: an object that can be called, and a
    method of one.
    """
    parts: tuple[Any, ...]
    if type(target) is functools.partial:
        parts = (plain_call(target.func), plain(list(target.args)), alike(target.keywords))
    elif isinstance(target, types.MethodType) and isinstance(target.__self__, type):
        parts = (Same(target.__self__), plain_call(target.__func__))
    elif isinstance(target, type):
        parts = (Same(target),)
    else:
        parts = (plain(target) if isinstance(target, types.FunctionType) and _is_open(target) else OPAQUE,)
    return OPAQUE if any(each is OPAQUE for each in parts) else parts


def _is_open(function: types.FunctionType) -> bool:
    """Whether a function holds nothing of another one that made it."""
    return all(name == "__class__" for name in function.__code__.co_freevars)


def _all_plain(values: Iterable[Any]) -> list[Any]:
    """As ``plain``, for each of several values."""
    seen: dict[int, int] = {}
    return [_plain_or_opaque(each, seen) for each in values]


def _plain_or_opaque(value: Any, seen: dict[int, int]) -> Any:
    try:
        return _plain(value, 0, [_MOST], seen)
    except _OpaqueError:
        return OPAQUE


class _OpaqueError(Exception):
    """Some part of a value cannot be compared."""


def _plain(value: Any, depth: int, left: list[int], seen: dict[int, int]) -> Any:
    kind: Any = type(value)
    left[0] -= 1
    if depth > _DEPTH or left[0] < 0:
        raise _OpaqueError
    if kind in _ATOMS:
        return (kind, repr(value)) if kind in (float, complex) else (kind, value)  # -0.0 and nan
    if kind is Same:
        return value
    if (depth and _has_names(value)) or (isinstance(value, _CALLED) and not is_pure(value)):
        raise _OpaqueError
    if issubclass(kind, _SAME) or _is_of_torch(kind):
        return Same(value)
    inside = _in_member if issubclass(kind, enum.Enum) else _INSIDE.get(kind)
    if inside is None:
        raise _OpaqueError
    if kind in _CHANGEABLE:  # ``a is b`` may decide, and what changes one changes the other
        if id(value) in seen:
            return (kind, Same, seen[id(value)])
        seen[id(value)] = len(seen)
    parts = inside(value)
    if kind in (set, frozenset):
        return (kind, frozenset(_plain(each, depth + 1, left, seen) for each in parts))
    return (kind, *(_plain(each, depth + 1, left, seen) for each in parts))


def _in_member(member: enum.Enum) -> Iterable[Any]:
    """A member of an enum, and its attributes, which may change."""
    return (Same(member), *(each for each in vars(member).items() if each[0] != "__objclass__"))


#: Collections of which one may be at several places, and is changed at all of them.
_CHANGEABLE = (list, dict, set)

#: Class -> what its values hold.
_INSIDE: Mapping[type, Callable[[Any], Iterable[Any]]] = {
    **dict.fromkeys((tuple, list, set, frozenset), iter),
    **dict.fromkeys((dict, types.MappingProxyType), lambda value: value.items()),
    types.FunctionType: lambda value: (
        *(Same(value), Same(value.__code__)),
        *(value.__defaults__, value.__kwdefaults__, value.__dict__),
    ),
    staticmethod: lambda value: (value.__func__,),
    classmethod: lambda value: (value.__func__,),
    property: lambda value: (Same(value.fget), Same(value.fset)),
    functools.partial: lambda value: (value.func, value.args, value.keywords),
}


def _is_of_torch(kind: type) -> bool:
    """Whether values of a class are dtypes, devices and the like, which do not change."""
    return kind.__module__ == "torch" and kind.__name__ in ("dtype", "device", "layout", "memory_format")


def _has_names(value: Any) -> bool:
    """Whether a value is a module, or a class of a class statement outside of torch: others do not change."""
    ours = isinstance(value, type) and value.__flags__ & HEAP
    return type(value) is types.ModuleType or (bool(ours) and root(value.__module__) != "torch")


def alike(kwargs: Mapping[str, Any]) -> Any:
    """As ``plain``, for keyword arguments, whose order says nothing."""
    names = sorted(kwargs)
    found = dict(zip(names, _all_plain((kwargs[name],) for name in names), strict=True))
    return OPAQUE if any(each is OPAQUE for each in found.values()) else frozenset(found.items())
