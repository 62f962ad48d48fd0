"""What a run is doing, shown at a terminal once it takes long: a few words, erased when they are over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO
from unicodedata import east_asian_width

from pytest_ckpt_compat._core.addresses import redacted_in
from pytest_ckpt_compat._core.display import visible

#: Seconds before anything is shown; most runs end sooner.
PATIENCE = 2.0
#: Seconds between two looks at what is being done.
_PAUSE = 0.1
#: Columns below which nothing is shown.
_LEAST = 20
#: Columns of a terminal that does not tell.
_USUAL = 80
_SAVE, _BACK, _ERASE = "\x1b7", "\x1b8", "\x1b[K"


class Screen(Protocol):
    """What is written on."""

    def write(self, text: str, /) -> object:
        """Writes at the cursor."""

    def columns(self) -> int:
        """How wide it is."""


class Terminal:
    """A terminal that stays within reach while standard output and standard error are captured."""

    def __init__(self, stream: TextIO) -> None:
        self._encoding = stream.encoding or "ascii"
        self._descriptor = os.dup(stream.fileno())

    def write(self, text: str) -> None:
        """Writes at the cursor; a terminal that has gone away is left alone."""
        with suppress(OSError):
            os.write(self._descriptor, text.encode(self._encoding, "backslashreplace"))

    def columns(self) -> int:
        """How wide it is."""
        try:
            return os.get_terminal_size(self._descriptor).columns or _USUAL
        except OSError:
            return _USUAL

    def close(self) -> None:
        """Lets it go."""
        with suppress(OSError):
            os.close(self._descriptor)


def terminal_of(stream: TextIO | None, environment: Mapping[str, str]) -> Terminal | None:
    """The terminal behind a stream; None for a file, a pipe, the log of a CI run, or one that only prints."""
    if any(environment.get(name) for name in ("CI", "BUILD_NUMBER")) or environment.get("TERM") == "dumb":
        return None
    try:
        return Terminal(stream) if stream is not None and stream.isatty() else None
    except (OSError, ValueError, AttributeError):  # closed, or no file
        return None


class Progress:
    """Says on a screen what is being done, behind the cursor, which stays where it is.

    Args:
        screen: where.
        clock: gives seconds.
    """

    def __init__(self, screen: Screen, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen, self._clock = screen, clock
        self._lock = threading.Lock()
        self._doing = self._shown = ""
        self._began: float | None = None
        self._column = 0

    def say(self, doing: str) -> None:
        """Notes what is being done from now on; "" takes away what is shown."""
        with self._lock:
            self._doing = visible(redacted_in(doing))
            if not self._doing:
                self._erase()

    def begin(self, column: int = 0) -> None:
        """Starts the clock; ``column`` is where the cursor stands."""
        with self._lock:
            self._began, self._column = self._clock(), column

    def end(self) -> None:
        """Erases what is shown; nothing is shown before the next beginning."""
        with self._lock:
            self._erase()
            self._began, self._doing = None, ""

    def look(self) -> None:
        """Shows what is being done, if it has taken long enough and is not shown yet."""
        with self._lock:
            if self._began is None or not self._doing or self._doing == self._shown:
                return
            room = self._screen.columns() - self._column - 2
            if self._clock() - self._began >= PATIENCE and room >= _LEAST:
                space = " " if self._column else ""
                self._screen.write(f"{_SAVE}{space}{_cut(f'{self._doing} ...', room)}{_ERASE}{_BACK}")
                self._shown = self._doing

    @contextmanager
    def watched(self, column: int = 0) -> Iterator[None]:
        """Looks again and again, in a thread, while the work inside goes on."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(_PAUSE):
                self.look()

        self.begin(column)
        threading.Thread(target=look, name="ckpt-compat progress", daemon=True).start()
        try:
            yield
        finally:
            over.set()
            self.end()

    def _erase(self) -> None:
        if self._shown:
            self._screen.write(_ERASE)
            self._shown = ""


@contextmanager
def shown(stream: TextIO | None) -> Iterator[Callable[[str], None]]:
    """Gives a function that is told what is being done, and shows it where the stream is a terminal."""
    terminal = terminal_of(stream, os.environ)
    if terminal is None:
        yield lambda _doing: None
        return
    progress = Progress(terminal)
    try:
        with progress.watched():
            yield progress.say
    finally:
        terminal.close()


def _cut(text: str, room: int) -> str:
    """The text, or its end after dots, in as many columns as there are: the end of a path tells more."""
    widths = [2 if east_asian_width(sign) in "WF" else 1 for sign in text]
    if sum(widths) <= room:
        return text
    begin, left = len(text), room - 3
    while begin and widths[begin - 1] <= left:
        begin -= 1
        left -= widths[begin]
    return f"...{text[begin:]}"
