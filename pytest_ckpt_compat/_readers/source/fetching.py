"""What a thread has fetched of the checkpoints that it reads at addresses."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

#: What keeps it, or None where a thread reads without it. asyncio gives the coroutines that fsspec runs the
#: context of the thread that asked for them.
FETCHED: ContextVar[Any] = ContextVar("fetched", default=None)


def is_fetching() -> bool:
    """Whether what runs here fetches a checkpoint."""
    return FETCHED.get() is not None
