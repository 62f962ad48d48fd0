"""Work as a number that is the same on every machine, for tests of what must not grow too fast."""

from __future__ import annotations

import contextlib
import cProfile
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def calls() -> Iterator[Callable[[], int]]:
    """Counts the calls of functions inside the context, those written in C included."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield lambda: sum(int(entry.callcount) for entry in profile.getstats())
    finally:
        profile.disable()


class Text(str):
    """A text that counts, for all of its kind, how often one is compared with another or hashed."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Text.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        Text.compared += 1
        return str.__hash__(self)
