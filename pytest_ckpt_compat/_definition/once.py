"""Keeps what a constructor built over the network, so that nothing is downloaded a second time."""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._readers.source.fetching import is_fetching

if TYPE_CHECKING:
    import torch
    from torch import nn

#: What notes the connections of this thread; there are several where a constructor makes a check.
_NOTED: ContextVar[tuple[deque[object], ...]] = ContextVar("noted", default=())


@dataclass
class Once:
    """What a definition's constructor built, on meta, where it used the network.

    Attributes:
        module: as it was built; None where the constructor is to run each time.
    """

    module: nn.Module | None = None

    @contextlib.contextmanager
    def kept(self) -> Iterator[list[nn.Module]]:
        """Keeps a copy of the module that the caller appends, if the network was used meanwhile."""
        built: list[nn.Module] = []
        with _connections() as opened:
            yield built
        if built and opened:
            with contextlib.suppress(Exception):  # what cannot be copied is built again
                self.module = copy.deepcopy(built[0])

    def again(self) -> nn.Module | None:
        """Returns a copy of the module on meta, or None."""
        return copy.deepcopy(self.module)

    def real(self) -> nn.Module | None:
        """Returns a copy with real tensors, all zero, tied as they are; or None."""
        if self.module is None:
            return None
        storages: dict[int, torch.UntypedStorage] = {}
        tensors = (*self.module.parameters(), *self.module.buffers())
        return copy.deepcopy(self.module, {id(each): _zeros(each, storages) for each in tensors})


def _zeros(tensor: torch.Tensor, storages: dict[int, torch.UntypedStorage]) -> torch.Tensor:
    import torch

    if not tensor.is_meta or torch.nn.parameter.is_lazy(tensor):
        return copy.deepcopy(tensor)
    own = tensor.untyped_storage()
    if own._cdata not in storages:
        storages[own._cdata] = torch.zeros(own.nbytes(), dtype=torch.uint8).untyped_storage()
    whole = torch.empty(0, dtype=tensor.dtype)
    zeros = whole.set_(storages[own._cdata], tensor.storage_offset(), tensor.shape, tensor.stride())
    if not isinstance(tensor, torch.nn.Parameter):
        return zeros
    return torch.nn.Parameter(zeros, requires_grad=tensor.requires_grad)


@contextlib.contextmanager
def _connections() -> Iterator[Collection[object]]:
    """The last address to which what runs in the context opened a connection over the network, if any.

    That is this thread, one that begins meanwhile, or what asyncio runs for this thread. Others read
    checkpoints ahead of their checks, or are the user's. An audit hook would see them, too. But Python keeps
    it for good and calls it at each ``id()``, which took a tenth of a check.
    """
    import _socket

    found: deque[object] = deque(maxlen=1)  # a constructor may keep the method, and connect for long
    others = {thread.ident for thread in threading.enumerate()}
    token = _NOTED.set((*_NOTED.get(), found))
    with contextlib.ExitStack() as exchanged:
        exchanged.callback(_NOTED.reset, token)
        for kind in _socket.socket.__subclasses__():  # whatever is called socket.socket now
            for name in ("connect", "connect_ex"):
                with contextlib.suppress(TypeError):  # a class written in C
                    exchanged.enter_context(
                        _exchanged(kind, name, _noting(getattr(kind, name), found, others))
                    )
        yield found


@contextlib.contextmanager
def _exchanged(kind: type, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """A class with another method; not where a constructor has put one of its own meanwhile."""
    own = vars(kind).get(name)
    setattr(kind, name, method)
    try:
        yield
    finally:
        if vars(kind).get(name) is method and own is None:
            delattr(kind, name)  # what it inherits is there again
        elif vars(kind).get(name) is method:
            setattr(kind, name, own)


def _noting(
    connect: Callable[..., Any], found: deque[object], others: Collection[int | None]
) -> Callable[..., Any]:
    """The method of a socket, which notes the addresses that are on the network."""

    @functools.wraps(connect)
    def noting(own: Any, *args: Any, **kwargs: Any) -> Any:  # others may have put theirs in its place
        addresses = [each for each in (*args, *kwargs.values()) if isinstance(each, tuple)]
        if any(each is found for each in _NOTED.get()) or (
            threading.get_ident() not in others and not is_fetching()
        ):
            found.extend(addresses)
        return connect(own, *args, **kwargs)

    return noting
