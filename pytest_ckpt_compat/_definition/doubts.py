"""Notices what a definition's code does that tensors without numbers answer differently."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: What a meta tensor answers differently from a real one.
_ASKED = (
    "data_ptr",
    "device",
    "get_device",
    "is_cpu",
    "is_cuda",
    "is_meta",
    "storage",
    "type",
    "untyped_storage",
)
#: What reads the numbers of a tensor, or where they lie: a snapshot keeps neither.
_READ = (
    "__array__",
    "__bool__",
    "__complex__",
    "__contains__",
    "__dlpack__",
    "__float__",
    "__format__",
    "__index__",
    "__int__",
    "__repr__",
    "equal",
    "item",
    "numpy",
    "storage_offset",
    "tolist",
)
#: Files of this package that intercept calls.
_MODES = ("doubts.py", "intercept.py", "watch.py")
#: Files of torch that pass a call of the user's on: its caller is further up.
_BETWEEN = ("overrides.py", "_tensor.py", "_python_dispatch.py", "_device.py")


@dataclass
class Doubts:
    """Why a result on the meta device may differ from one with real tensors.

    Attributes:
        reasons: a clause each, in the order in which they came up.
        asked: whether loading code asked for numbers that a tensor on meta does not have.
        read: real tensors of which code outside of torch read numbers.
    """

    reasons: dict[str, None] = field(default_factory=dict)
    asked: bool = False
    read: list[torch.Tensor] = field(default_factory=list)
    _drawn: set[int] = field(default_factory=set, repr=False)
    _skipped: bool = field(default=False, repr=False)

    def add(self, reason: str) -> None:
        """Adds a reason."""
        self.reasons[reason] = None

    def clear(self, keep: Mapping[str, None]) -> None:
        """Forgets all but the reasons to keep: what was built in this way is not used."""
        self.reasons.clear()
        self.reasons.update(keep)
        self.read.clear()
        self._drawn.clear()
        self.asked = self._skipped = False

    def raised(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Notes that an operator raised, if a meta tensor was among its arguments."""
        if any(tensor.is_meta for tensor in tensors_in((*args, *kwargs.values()))):
            self.add(f"{operator._schema.name} raised")

    def random(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], found: Any) -> None:
        """Notes an operator that draws from the default generator, or reads what was drawn.

        Where an initialisation was skipped, the generator did not advance, so what is drawn after it
        is not what a real build draws. That matters only if its numbers are read.

        Args:
            operator: any operator.
            args: its arguments.
            kwargs: its keyword arguments.
            found: what it returned, or the tensor that it was not run on.
        """
        draws, reads = _randomness(operator)
        if draws and kwargs.get("generator") is None:
            given = tensors_in((*args, *kwargs.values(), found))
            if any(tensor.is_meta for tensor in given):
                self.not_drawn()
            elif self._skipped:
                self._drawn |= {id_ for tensor in given if (id_ := _storage(tensor))}
        elif self._drawn:
            given = tensors_in((*args, *kwargs.values()))
            if not self._drawn.isdisjoint(map(_storage, given)):
                if reads:
                    self._read_random()
                self._drawn |= {id_ for tensor in tensors_in((found, *args)) if (id_ := _storage(tensor))}

    def not_drawn(self) -> None:
        """Notes that an initialisation was skipped, so that the generator did not advance."""
        self._skipped = True

    def questions(
        self, instead: Mapping[Any, Callable[..., Any]] = MappingProxyType({})
    ) -> AbstractContextManager[Any]:
        """Notices, inside the context, what code outside of torch asks tensors.

        Args:
            instead: function of torch -> what is called in its place.
        """
        from torch.overrides import TorchFunctionMode

        doubts, watched = self, _watched()

        class Mode(TorchFunctionMode):
            def __torch_function__(
                self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
            ) -> Any:
                name = watched.get(func)
                if name is not None:
                    doubts._question(name, args)
                return instead.get(func, func)(*args, **(kwargs or {}))

        return Mode()

    def _question(self, name: str, args: tuple[Any, ...]) -> None:
        tensor = args[0]
        if not getattr(type(tensor), "is_meta", None) or not _asked_by_the_user():
            return
        if not tensor.is_meta:
            if name in _READ:
                self.read.append(tensor)
                if _storage(tensor) in self._drawn:
                    self._read_random()
            return
        if name in _READ:
            self.asked = True
        self.add(f"its code asks a tensor for {name.strip('_')}")

    def _read_random(self) -> None:
        self.add("its constructor reads random numbers after an initialisation that was skipped")


def tensors_in(values: Iterable[Any]) -> list[torch.Tensor]:
    """Returns the tensors among values, and in lists among them."""
    import torch

    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [each for each in value if isinstance(each, torch.Tensor)]
    return found


def _storage(tensor: torch.Tensor) -> int | None:
    try:
        return None if tensor.is_meta else int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None


@functools.cache
def _randomness(operator: Any) -> tuple[bool, bool]:
    """Whether an operator draws random numbers, and whether its result depends on numbers that it reads."""
    import torch

    reads = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return torch.Tag.nondeterministic_seeded in operator.tags, not reads.isdisjoint(operator.tags)


@functools.cache
def _watched() -> Mapping[Any, str]:
    """Function, as ``__torch_function__`` gets it -> its name."""
    import torch

    found: dict[Any, str] = {torch.equal: "equal"}
    for name in (*_ASKED, *_READ):
        member = getattr(torch.Tensor, name)
        found[member if callable(member) else member.__get__] = name
    return found


def reads_numbers(operator: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an operator whose numbers decide what it returns, or of what shape.

    Torch's own loading code reads numbers, too (a scale): they do not decide whether it loads.
    """
    import torch

    if torch.Tag.dynamic_output_shape in operator.tags:
        # The tensors at the indices of x[i] are copied; only the indices decide.
        return args[1:2] if operator._schema.name == "aten::index" else args
    return args if _randomness(operator)[1] and _asked_by_the_user(("between", "torch")) else ()


def _asked_by_the_user(between: tuple[str, ...] = ("between",)) -> bool:
    """Whether the call that a mode has intercepted came from code outside of torch and this package.

    Args:
        between: owners of code that passes a call on.
    """
    frame = sys._getframe(1)
    # Modes of this package and of torch, such as that of a default device, lie in any order.
    while _passes_on(frame.f_code.co_filename, between) and frame.f_back is not None:
        frame = frame.f_back
    return _owner(frame.f_code.co_filename) == "user"


@functools.cache
def _passes_on(filename: str, between: tuple[str, ...]) -> bool:
    owner = _owner(filename)
    return owner in between or (owner == "ours" and os.path.basename(filename) in _MODES)


@functools.cache
def _owner(filename: str) -> str:
    import torch

    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    home = os.path.dirname(torch.__file__) + os.sep
    if filename.startswith(home):
        if filename.startswith((f"{home}nn{os.sep}", f"{home}ao{os.sep}")):
            return "modules"
        return "between" if os.path.basename(filename) in _BETWEEN else "torch"
    return "ours" if filename.startswith(ours + os.sep) else "user"
