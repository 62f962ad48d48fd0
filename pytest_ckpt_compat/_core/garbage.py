"""The garbage collector, out of the way for a while."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps the collector from looking again and again at millions of live values.

    For work that makes many of them and no garbage in cycles: a reader's, or a model's on meta next
    to all that torch has in memory, where each look takes 0.1 s.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
