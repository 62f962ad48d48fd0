"""What the user's code may change around it, and what is put back afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Iterator
from typing import Any, NoReturn


@contextlib.contextmanager
def untouched_process() -> Iterator[None]:
    """Restores the working directory, the standard streams and the recursion limit on exit.

    A fork that the user's code leaves running ends there: this process alone goes on with the check. And
    ``os._exit`` raises in this process, which would end without a word, and with 0 as if all were well.
    """
    process, streams, depth = os.getpid(), (sys.stdout, sys.stderr), sys.getrecursionlimit()
    folder, end = _working_directory(), os._exit

    def raise_here(status: int) -> NoReturn:
        if os.getpid() == process:
            raise SystemExit(status)
        end(status)

    os._exit = raise_here
    try:
        yield
    finally:
        os._exit = end
        if os.getpid() != process:
            end(0)
        sys.stdout, sys.stderr = streams
        sys.setrecursionlimit(max(depth, sys.getrecursionlimit()))
        if folder and folder != _working_directory():
            os.chdir(folder)


def _working_directory() -> str:
    """The working directory; "" if it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


@contextlib.contextmanager
def untouched_globals() -> Iterator[None]:
    """Restores random numbers, default dtype and device, grad mode and ``sys.path`` on exit, too."""
    import torch

    dtype, path = torch.get_default_dtype(), list(sys.path)
    device = _device_context()
    python_state = random.getstate()
    numpy_random = sys.modules.get("numpy.random")
    numpy_state = numpy_random.get_state() if numpy_random else None
    with (
        untouched_process(),
        torch.random.fork_rng(devices=[]),
        torch.set_grad_enabled(torch.is_grad_enabled()),
    ):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            if _device_context() is not device:
                # None also takes away the mode that every call of torch would pass through from now on.
                torch.set_default_device(None if device is None else device.device)
            sys.path[:] = path
            random.setstate(python_state)
            if numpy_random:
                numpy_random.set_state(numpy_state)


def _device_context() -> Any:
    """The mode that ``torch.set_default_device`` has entered; None if it was not called."""
    import torch

    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


@contextlib.contextmanager
def search_path(*folders: str) -> Iterator[None]:
    """Puts folders at the head of ``sys.path`` inside the context."""
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before
