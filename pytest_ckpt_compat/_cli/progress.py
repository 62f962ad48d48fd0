"""What commands say on standard error: remarks, and what the user is waiting for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_ckpt_compat._core.addresses import redacted
from pytest_ckpt_compat._core.display import visible

#: Seconds before the first report; most files are read sooner.
PATIENCE = 1.0


def say(line: str) -> None:
    """Prints a line on standard error, under the command's name."""
    print(f"ckpt-compat: {visible(line)}", file=sys.stderr, flush=True)


@contextmanager
def reported_if_slow(what: str) -> Iterator[None]:
    """Prints ``reading <what> ...`` on standard error if the work inside takes longer than a second."""
    timer = threading.Timer(PATIENCE, say, [f"reading {redacted(what)} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
