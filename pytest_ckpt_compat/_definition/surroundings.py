"""What the user's code may change around it, and what is put back afterwards."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def untouched_globals() -> Iterator[None]:
    """Restores random numbers, default dtype and device, grad mode and ``sys.path`` on exit."""
    import torch

    dtype, device, path = torch.get_default_dtype(), torch.empty(0).device, list(sys.path)
    python_state = random.getstate()
    numpy_random = sys.modules.get("numpy.random")
    numpy_state = numpy_random.get_state() if numpy_random else None
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            if torch.empty(0).device != device:
                torch.set_default_device(device)
            sys.path[:] = path
            random.setstate(python_state)
            if numpy_random:
                numpy_random.set_state(numpy_state)


@contextlib.contextmanager
def search_path(*folders: str) -> Iterator[None]:
    """Puts folders at the head of ``sys.path`` inside the context."""
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before
