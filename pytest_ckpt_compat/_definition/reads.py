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
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pytest_ckpt_compat._definition.comparable import HEAP, OPAQUE, Same, plain, plain_call

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
#: Operations by which code reads attributes that are not among its names.
_UNNAMED = frozenset({"IMPORT_NAME", "MATCH_CLASS"})
#: Methods of strings that read attributes and items of what they get, and how a string asks for these.
_FORMATTING, _PART = frozenset({"format", "format_map"}), re.compile(r"\{[^{}:!]*[.\[]")
#: Packages whose metaclasses hold nothing that may change.
_METACLASSES = frozenset({"builtins", "abc", "torch", "enum"})
_MISSING = object()


def observed(make: Callable[..., _T], **kwargs: Any) -> tuple[_T, Reads | None]:
    """What a constructor makes, and what it reads; None where somebody else traces Python's calls."""
    if sys.gettrace() is not None:
        return make(**kwargs), None
    reads = Reads(make)
    sys.settrace(reads.called)
    try:
        return make(**kwargs), reads
    finally:
        sys.settrace(None)


class Reads:
    """What code reads from around it, and what that was.

    Args:
        target: the class or function that is called, which no name stands for.
    """

    def __init__(self, target: Any) -> None:
        self._target, self._given = target, plain_call(target)
        #: Whether nothing was seen so far that may be something else at another time.
        self.pure = self._given is not OPAQUE
        self._torch = _settings_of_torch()
        self._noted: dict[tuple[int, str], tuple[Mapping[str, Any], Any]] = {}
        self._opaque: dict[tuple[int, str], Any] = {}
        self._absent: list[tuple[Mapping[str, Any], frozenset[str]]] = []
        self._classes: dict[type, dict[str, Any]] = {}
        self._of_torch: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
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
            self._of_torch += _named_by_constructor(kind)
        names = {name for code in self._codes.values() for name in code.co_names}
        read = (name in names or self._runs(value) for (_, name), value in self._opaque.items())
        self.pure = self.pure and not any(read) and self.unchanged()

    def unchanged(self) -> bool:
        """Whether all that was read is as it was."""
        return (
            self.pure
            and self._torch == _settings_of_torch()
            and self._given == plain_call(self._target)
            and all(_has(owner, values) for owner, values in self._of_torch)
            and all(owner.keys().isdisjoint(names) for owner, names in self._absent)
            and all(_holds(vars(kind), before) for kind, before in self._classes.items())
            and all(
                name in owner and plain(owner[name]) == was for (_, name), (owner, was) in self._noted.items()
            )
        )

    def _knows(self, code: types.CodeType) -> bool:
        """Whether the names in a function are all that it reads."""
        if os.path.basename(code.co_filename) in _OUTSIDE or _reaches(code):
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
        known = vars(builtins)
        hidden = (known[name] for name in frozenset(names) - names_in.keys() if name in known)
        self.pure = self.pure and all(map(_is_pure, hidden))
        left, seen = [names_in], {id(names_in)}
        while left:
            owner = left.pop()
            self._absent.append((owner, frozenset(names) - owner.keys()))
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


def _has(owner: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(owner.get(name, _MISSING) is value for name, value in values.items())


def _named_by_constructor(kind: type) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The globals of a class's constructor, and what the names in it stand for among them.

    Others may put layers of their own in the place of those that one of torch's is made of.
    """
    constructor = vars(kind).get("__init__")
    if isinstance(constructor, types.FunctionType):
        known = constructor.__globals__
        yield known, {name: known[name] for name in constructor.__code__.co_names if name in known}


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
    if isinstance(value, types.ModuleType):
        return type(value) is types.ModuleType  # others compute what they give, as torch.backends.cudnn
    if not isinstance(value, type) or value in _PURE_CLASSES or issubclass(value, BaseException):
        return True
    if _root(value.__module__) in ("torch", *_PURE_MODULES):
        return True
    file = getattr(sys.modules.get(value.__module__), "__file__", None) or ""
    return bool(value.__flags__ & HEAP) and file.endswith(".py")


def _root(name: str | None) -> str:
    return (name or "").partition(".")[0]


@functools.lru_cache(maxsize=4096)
def _reaches(code: types.CodeType) -> bool:
    """Whether a function reads what none of its names shows.

    It imports, matches a pattern of attributes, or formats one: ``"{0.width}".format(settings)``.
    """
    formats = not _FORMATTING.isdisjoint(code.co_names) and any(map(_names_a_part, code.co_consts))
    return formats or any(each.opname in _UNNAMED for each in dis.get_instructions(code))


def _names_a_part(constant: object) -> bool:
    return isinstance(constant, str) and bool(_PART.search(constant))


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
    """What constructors ask torch: the default dtype and device, hooks on every module, the process group.

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
        *(torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        torch.backends.mha.get_fastpath_enabled(),
        _process_group(),
        *(
            tuple(Same(hook) for hook in each.values() if _root(type(hook).__module__) != _root(__name__))
            for each in hooks
            if isinstance(each, Mapping)
        ),
    )


def _process_group() -> Same:
    """The group of processes in which this one is, of which models ask the size and the rank."""
    import torch.distributed

    ours = torch.distributed.is_available() and torch.distributed.is_initialized()
    return Same(torch.distributed.GroupMember.WORLD if ours else None)
