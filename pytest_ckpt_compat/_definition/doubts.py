"""Notices what a definition's code does that tensors without numbers answer differently."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
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
#: What reads the numbers of a tensor.
_READ = (
    "__array__",
    "__bool__",
    "__complex__",
    "__contains__",
    "__float__",
    "__format__",
    "__index__",
    "__int__",
    "__repr__",
    "equal",
    "item",
    "numpy",
    "tolist",
)
#: Files of torch that pass a call of the user's on: its caller is further up.
_BETWEEN = ("overrides.py", "_tensor.py")


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
    _drawn: bool = field(default=False, repr=False)
    _skipped: bool = field(default=False, repr=False)

    def add(self, reason: str) -> None:
        """Adds a reason."""
        self.reasons[reason] = None

    def clear(self) -> None:
        """Forgets everything: what was built in this way is not used."""
        self.reasons.clear()
        self.read.clear()
        self.asked = self._drawn = self._skipped = False

    def raised(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Notes that an operator raised, if a meta tensor was among its arguments."""
        if any(tensor.is_meta for tensor in tensors_in(args, kwargs)):
            self.add(f"{operator._schema.name} raised")

    def random(self, operator: Any, kwargs: Mapping[str, Any], tensors: list[torch.Tensor]) -> None:
        """Notes an operator that draws from the default generator, or reads what was drawn.

        Args:
            operator: any operator.
            kwargs: its keyword arguments.
            tensors: its tensors, those that it returns included.
        """
        draws, reads = _randomness(operator)
        if draws and kwargs.get("generator") is None:
            if any(tensor.is_meta for tensor in tensors):
                self._skipped = True
            else:
                self._drawn = self._drawn or self._skipped
        elif self._drawn and reads:
            self._read_random()

    def questions(self) -> AbstractContextManager[Any]:
        """Notices, inside the context, what code outside of torch asks tensors."""
        from torch.overrides import TorchFunctionMode

        doubts, watched = self, _watched()

        class Mode(TorchFunctionMode):  # type: ignore[no-untyped-call]
            def __torch_function__(
                self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
            ) -> Any:
                name = watched.get(func)
                if name is not None:
                    doubts._question(name, args)
                return func(*args, **(kwargs or {}))

        return Mode()  # type: ignore[no-untyped-call]

    def _question(self, name: str, args: tuple[Any, ...]) -> None:
        tensor = args[0]
        if not getattr(type(tensor), "is_meta", None) or not _asked_by_the_user():
            return
        if not tensor.is_meta:
            if name in _READ:
                self.read.append(tensor)
                if self._drawn:
                    self._read_random()
            return
        if name in _READ:
            self.asked = True
        self.add(f"its code asks a tensor for {name.strip('_')}")

    def _read_random(self) -> None:
        self.add("its constructor reads random numbers after an initialisation that was skipped")


def tensors_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """Returns the tensors among an operator's arguments, lists not searched."""
    import torch

    return [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]


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


def _asked_by_the_user() -> bool:
    """Whether the call that a mode has intercepted came from code outside of torch and this package."""
    frame = sys._getframe(3)
    while (owner := _owner(frame.f_code.co_filename)) == "between" and frame.f_back is not None:
        frame = frame.f_back
    return owner == "user"


@functools.cache
def _owner(filename: str) -> str:
    import torch

    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if filename.startswith(os.path.dirname(torch.__file__) + os.sep):
        return "between" if os.path.basename(filename) in _BETWEEN else "torch"
    return "ours" if filename.startswith(ours + os.sep) else "user"
