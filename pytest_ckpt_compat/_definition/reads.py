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
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pytest_ckpt_compat._definition.comparable import OPAQUE, Same, plain, plain_call
from pytest_ckpt_compat._definition.pure import HEAP, is_pure, root

_T = TypeVar("_T")

#: Files whose functions read other files, or draw numbers.
_OUTSIDE = frozenset(
    {"serialization.py", "_serialization.py", "hub.py", "random.py", "secrets.py", "uuid.py"}
)
#: Names by which code reaches what has none in it.
_REACHING = frozenset(
    {
        *("__dict__", "__getattribute__", "__subclasses__", "attrgetter", "methodcaller", "__globals__"),
        *("__builtins__", "__closure__", "__annotations__", "__doc__"),
    }
)
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
        self._modules: dict[int, Mapping[str, Any]] = {}
        self._names: set[str] = set()
        self._classes: dict[type, dict[str, Any]] = {}
        self._bases: dict[type, tuple[type, ...]] = {}
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
            self.pure = self.pure and self._knows(code)
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
        read = (name in self._names or self._runs(value) for (_, name), value in self._opaque.items())
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
            and all(kind.__mro__ == before for kind, before in self._bases.items())
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

    def _note(self, names_in: Mapping[str, Any], names: frozenset[str]) -> None:
        """Notes what names stand for among the globals of a function, and in each module that it may have.

        It may get a module from a function, a class or another object: any that was seen, and any name in it.
        """
        self._look_inside(vars(builtins), names - names_in.keys())
        self._look_inside(names_in, names)
        new = names - self._names
        self._names |= names
        for module in list(self._modules.values()):
            self._look_inside(module, new)

    def _look_inside(self, owner: Mapping[str, Any], names: frozenset[str]) -> None:
        self._absent.append((owner, names - owner.keys()))
        for name in names & owner.keys():
            value = owner[name]
            self._put(owner, id(owner), name, value)
            self._enter(value)
            self.pure = self.pure and is_pure(value)

    def _enter(self, value: Any) -> None:
        """Notes what is in a module or a class."""
        if isinstance(value, type):
            self._note_class(value)
        elif isinstance(value, types.ModuleType) and id(vars(value)) not in self._modules:
            self._modules[id(vars(value))] = vars(value)
            self._look_inside(vars(value), frozenset(self._names))

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
            self.pure = self.pure and root(type(each).__module__) in _METACLASSES
            self._classes[each], self._bases[each] = dict(vars(each)), each.__mro__
            for name, value in vars(each).items() if not _is_trusted_class(each) else ():
                self._put(vars(each), id(each), name, value)
                self._enter(value)


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
    """Whether a function of Python's own library was called by torch's code, or by this package's.

    Not where it is around what is observed itself, as ``contextlib.ContextDecorator`` is.
    """
    caller: types.FrameType | None = frame
    while caller is not None and _is_of_library(caller.f_code.co_filename):
        caller = caller.f_back
    if caller is frame or caller is None or caller.f_code is observed.__code__:
        return False
    return _is_trusted(caller.f_code.co_filename)


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
    return root(kind.__module__) in ("torch", root(__name__))


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
        _modes(),
        *(
            tuple(Same(hook) for hook in each.values() if root(type(hook).__module__) != root(__name__))
            for each in hooks
            if isinstance(each, Mapping)
        ),
    )


def _process_group() -> Same:
    """The group of processes in which this one is, of which models ask the size and the rank."""
    import torch.distributed

    ours = torch.distributed.is_available() and torch.distributed.is_initialized()
    return Same(torch.distributed.GroupMember.WORLD if ours else None)


def _modes() -> tuple[Any, ...]:
    """The modes that are entered, such as a device that is a context; not those of this package."""
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._device import DeviceContext
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    stack: Any = _get_current_function_mode_stack  # of torch, without types
    entered = (*stack(), *_get_current_dispatch_mode_stack())
    return tuple(
        (DeviceContext, each.device) if type(each) is DeviceContext else Same(each)
        for each in entered
        if root(type(each).__module__) != root(__name__)
    )
