"""What a constructor reads from around it, which shows whether it would make the same once more.

When one of its functions is called for the first time, what the names in it stand for is noted, and what is
in the classes that it is called on. Where all of that can be compared, and none of it gives one thing now
and another later (a clock, a file, random numbers), the constructor depends on nothing else but its
arguments. Of torch's own code, this takes for granted that it depends on these and on torch's settings.
"""

from __future__ import annotations

import builtins
import dis
import functools
import os
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from pytest_ckpt_compat._definition.comparable import HEAP, OPAQUE, Same, plain

_T = TypeVar("_T")

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
#: Files whose functions read other files, or draw numbers.
_OUTSIDE = frozenset(
    {"serialization.py", "_serialization.py", "hub.py", "random.py", "secrets.py", "uuid.py"}
)
#: Names by which code reaches what has none in it.
_REACHING = frozenset({"__dict__", "__getattribute__", "__subclasses__", "attrgetter", "methodcaller"})
#: Packages whose metaclasses hold nothing that may change.
_METACLASSES = frozenset({"builtins", "abc", "torch", "enum"})
_MISSING = object()


def observed(make: Callable[[], _T]) -> tuple[_T, Reads | None]:
    """What a constructor makes, and what it reads; None where somebody else traces Python's calls."""
    if sys.gettrace() is not None:
        return make(), None
    reads = Reads()
    sys.settrace(reads.called)
    try:
        return make(), reads
    finally:
        sys.settrace(None)


class Reads:
    """What code reads from around it, and what that was."""

    def __init__(self) -> None:
        #: Whether nothing was seen so far that may be something else at another time.
        self.pure = True
        self._torch = _settings_of_torch()
        self._noted: dict[tuple[int, str], tuple[Mapping[str, Any], Any]] = {}
        self._opaque: dict[tuple[int, str], Any] = {}
        self._absent: list[tuple[Mapping[str, Any], frozenset[str]]] = []
        self._classes: dict[type, dict[str, Any]] = {}
        self._codes: dict[int, types.CodeType] = {}
        self._calls: set[tuple[int, type]] = set()

    def called(self, frame: types.FrameType, _event: str, _argument: Any) -> None:
        """Notes what a function may read, before it runs; as ``sys.settrace`` calls it."""
        code = frame.f_code
        if _is_trusted(code.co_filename) or not self.pure or _is_torchs(frame):
            return
        subject = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        kind = subject if isinstance(subject, type) else type(subject)
        if (id(code), kind) in self._calls:
            return
        self._calls.add((id(code), kind))
        self._note_class(kind)
        if id(code) not in self._codes:
            self._codes[id(code)] = code
            self.pure = self._knows(code)
            self._note(frame.f_globals, frozenset(code.co_names))

    def finish(self, kinds: Iterable[type]) -> None:
        """Ends the notes.

        Args:
            kinds: the classes of what was made.
        """
        for kind in kinds:
            self._note_class(kind)
        for kind in [each for each in self._classes if _is_trusted_class(each)]:
            self._classes[kind] = dict(vars(kind))  # by now without what stood in for its functions
        names = {name for code in self._codes.values() for name in code.co_names}
        read = (name in names or self._runs(value) for (_, name), value in self._opaque.items())
        self.pure = self.pure and not any(read) and self.unchanged()

    def unchanged(self) -> bool:
        """Whether all that was read is as it was."""
        return (
            self.pure
            and self._torch == _settings_of_torch()
            and all(owner.keys().isdisjoint(names) for owner, names in self._absent)
            and all(_holds(vars(kind), before) for kind, before in self._classes.items())
            and all(
                name in owner and plain(owner[name]) == was for (_, name), (owner, was) in self._noted.items()
            )
        )

    def _knows(self, code: types.CodeType) -> bool:
        """Whether the names in a function are all that it reads."""
        if os.path.basename(code.co_filename) in _OUTSIDE or _imports(code):
            return False
        if not _REACHING.isdisjoint(code.co_names):
            return False
        inner = any(code is each for one in self._codes.values() for each in one.co_consts)
        return inner or all(name == "__class__" for name in code.co_freevars)

    def _runs(self, value: Any) -> bool:
        """Whether a value is a function that was called."""
        return id(getattr(value, "__code__", None)) in self._codes

    def _note(self, names_in: Mapping[str, Any], names: Collection[str]) -> None:
        """Notes what names stand for among the globals of a function, and in the modules among these."""
        absent = frozenset(names) - names_in.keys()
        self._absent.append((names_in, absent))
        known = vars(builtins)
        self.pure = self.pure and all(_is_pure(known[name]) for name in absent & known.keys())
        left, seen = [names_in], {id(names_in)}
        while left:
            owner = left.pop()
            for name in [each for each in names if each in owner]:
                value = owner[name]
                self._put(owner, id(owner), name, value)
                if isinstance(value, types.ModuleType) and id(vars(value)) not in seen:
                    seen.add(id(vars(value)))
                    left.append(vars(value))
                elif isinstance(value, type):
                    self._note_class(value)
                self.pure = self.pure and _is_pure(value)

    def _put(self, owner: Mapping[str, Any], whose: int, name: str, value: Any) -> None:
        if (whose, name) in self._noted:
            return
        found = plain(value)
        if found is OPAQUE:
            self._opaque[whose, name] = value
        else:
            self._noted[whose, name] = (owner, found)

    def _note_class(self, kind: type) -> None:
        """Notes what is in a class, and in those that it is derived from."""
        for each in kind.__mro__:
            if each in self._classes or not each.__flags__ & HEAP:
                continue
            self.pure = self.pure and _root(type(each).__module__) in _METACLASSES
            self._classes[each] = dict(vars(each))
            for name, value in vars(each).items() if not _is_trusted_class(each) else ():
                self._put(vars(each), id(each), name, value)
                if isinstance(value, type):
                    self._note_class(value)


def _holds(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a class has the same attributes as before."""
    return now.keys() == before.keys() and all(now[name] is each for name, each in before.items())


def _is_pure(value: Any) -> bool:
    """Whether what a name stands for does, if it is called, what its Python code and its arguments say."""
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        if isinstance(owner, types.ModuleType):
            pure = owner.__name__ in _PURE_MODULES or _root(owner.__name__) == "torch"
            return pure or (owner is builtins and value.__name__ in _PURE)
        if type(owner) in (list, dict, set, OrderedDict, bytearray):
            return False  # a method of something that may change
        kind = owner if isinstance(owner, type) else type(owner)
        return kind in _PURE_CLASSES or _root(kind.__module__) == "torch"
    if not isinstance(value, type) or value in _PURE_CLASSES or issubclass(value, BaseException):
        return True
    if _root(value.__module__) in ("torch", *_PURE_MODULES):
        return True
    file = getattr(sys.modules.get(value.__module__), "__file__", None) or ""
    return bool(value.__flags__ & HEAP) and file.endswith(".py")


def _root(name: str | None) -> str:
    return (name or "").partition(".")[0]


@functools.lru_cache(maxsize=4096)
def _imports(code: types.CodeType) -> bool:
    """Whether a function imports, which gives it names that are none of its globals."""
    return any(each.opname == "IMPORT_NAME" for each in dis.get_instructions(code))


def _is_torchs(frame: types.FrameType) -> bool:
    """Whether a function of Python's own library was called by torch's code, or by this package's."""
    caller: types.FrameType | None = frame
    while caller is not None and _is_of_library(caller.f_code.co_filename):
        caller = caller.f_back
    return caller is not frame and caller is not None and _is_trusted(caller.f_code.co_filename)


@functools.cache
def _is_of_library(filename: str) -> bool:
    """Whether a file is of Python's own library."""
    inside = filename.startswith(os.path.dirname(os.__file__) + os.sep) and "site-packages" not in filename
    return inside or filename.startswith("<frozen ")


@functools.cache
def _is_trusted(filename: str) -> bool:
    """Whether a file is torch's or this package's."""
    import torch

    homes = (os.path.dirname(torch.__file__), os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    inside = filename.startswith(tuple(home + os.sep for home in homes))
    return inside and os.path.basename(filename) not in _OUTSIDE


def _is_trusted_class(kind: type) -> bool:
    return _root(kind.__module__) in ("torch", _root(__name__))


def _settings_of_torch() -> tuple[Any, ...]:
    """What torch's constructors depend on: the default dtype and device, and hooks on every module.

    Those of this package only look on.
    """
    import torch
    from torch.nn.modules import module

    hooks = [vars(module)[name] for name in sorted(vars(module)) if name.startswith("_global_")]
    return (
        torch.get_default_dtype(),
        Same(getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)),
        *(torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.get_num_threads()),
        *(torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()),
        *(
            tuple(Same(hook) for hook in each.values() if _root(type(hook).__module__) != _root(__name__))
            for each in hooks
            if isinstance(each, Mapping)
        ),
    )
