"""Keeps what a constructor built over the network, so that nothing is downloaded a second time."""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


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
        before = len(_connections())
        yield built
        if built and len(_connections()) > before:
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


@functools.cache
def _connections() -> list[None]:
    """One entry for each connection over the network that this process has opened since the first call."""
    found: list[None] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            found.append(None)

    sys.addaudithook(note)
    return found
