"""HTTP as fsspec does it, with bounds on a response, its time, and the wait for a server that is busy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timezone
from email.utils import parsedate_to_datetime
from time import sleep, time
from typing import Any, TypeVar

_T = TypeVar("_T")

#: Most bytes of a response that is no part of a file.
_PLAIN = 64 << 10
_SECONDS = 60
#: How often a busy server, or one that breaks off, is asked; the longest that it is waited for at a time, and
#: the time where it names none.
_TRIES, _LONGEST, _USUAL = 3, 20.0, 1.0
_BUSY = (429, 503)
_BROKEN_OFF = ("ClientPayloadError", "ServerDisconnectedError")


class RangeIgnoredError(Exception):
    """A server sent something else than the requested range."""


class ChangedError(Exception):
    """A file is no longer the one of which other parts were read."""


class Version:
    """What a server has said of a file, by which it is known to be the same one.

    ``ETag`` and ``Last-Modified`` have to differ both: servers that share a load may name them apart.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._marks: list[str | None] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Holds the parts that are fetched inside to it."""
        token = _VERSION.set(self)
        try:
            yield
        finally:
            _VERSION.reset(token)

    def hold(self, begin: int, headers: Mapping[str, str]) -> None:
        """Raises unless the headers of a response are of this file, from this byte on.

        Raises:
            ChangedError: they are of another one.
            RangeIgnoredError: they are of another part.
        """
        found = re.fullmatch(r"\s*bytes (\d+)-\d+/(\d+|\*)\s*", headers.get("Content-Range", ""))
        if found and found[2] != "*" and self._size is not None and int(found[2]) != self._size:
            raise ChangedError
        if found and int(found[1]) != begin:
            raise RangeIgnoredError
        marks = [headers.get("ETag"), headers.get("Last-Modified")]
        told = [pair for pair in zip(self._marks, marks, strict=False) if None not in pair]
        if told and all(one != other for one, other in told):
            raise ChangedError
        self._marks = self._marks or marks


#: asyncio gives the coroutine that fsspec runs the context of the thread that asked for it.
_VERSION: ContextVar[Version | None] = ContextVar("version", default=None)


def options() -> dict[str, Any]:
    """Options that limit the time of a request, and its response to the requested range."""
    import aiohttp  # type: ignore[import-not-found, unused-ignore]

    class Bounded(aiohttp.ClientResponse):  # type: ignore[misc, unused-ignore]
        def raise_for_status(self) -> None:
            """Also refuses a response that is the whole file, or of another, instead of the range."""
            super().raise_for_status()
            wanted, version = self._requested(), _VERSION.get()
            if wanted is None:
                return
            try:
                if self.status != 206:
                    raise RangeIgnoredError
                if version is not None:
                    version.hold(wanted[0], self.headers)
            except Exception:
                self.close()
                raise

        async def read(self) -> bytes:
            chunks, length = [], 0
            wanted = self._requested()
            most = _PLAIN if wanted is None else wanted[1] - wanted[0] + 1
            async for chunk in self.content.iter_any():
                chunks.append(chunk)
                length += len(chunk)
                if length > most:
                    self.close()
                    raise RangeIgnoredError
            return b"".join(chunks)

        def _requested(self) -> tuple[int, int] | None:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
            return (int(found[1]), int(found[2])) if found else None

    silent = _SECONDS / 2  # fsspec asks twice, by HEAD and by GET
    timeout = aiohttp.ClientTimeout(total=_SECONDS, sock_connect=silent, sock_read=silent)
    return {"client_kwargs": {"timeout": timeout, "response_class": Bounded, "trust_env": True}}


def patiently(work: Callable[[], _T]) -> _T:
    """Does something that asks a server, again where that is too busy, after the time that it names."""
    for left in reversed(range(_TRIES)):
        try:
            return work()
        except Exception as error:
            seconds = _wait(error)
            if seconds is None or not left:
                raise
        sleep(seconds)
    raise AssertionError  # the last try has returned, or raised


def is_busy(status: object) -> bool:
    """Whether an HTTP status says that the same request may be answered later."""
    return status in _BUSY


def _wait(error: BaseException) -> float | None:
    """Seconds after which to ask again; None for an error that stays, or would take too long."""
    if isinstance(error, FileNotFoundError) and error.__cause__:  # so fsspec has it, whatever the failure is
        error = error.__cause__
    if type(error).__name__ in _BROKEN_OFF:
        return 0.0
    if not is_busy(getattr(error, "status", None)):
        return None
    asked = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    seconds = _seconds(asked)
    return seconds if seconds <= _LONGEST else None


def _seconds(asked: str) -> float:
    """The seconds of a ``Retry-After``: a number, or a date, by a clock that may not be ours."""
    if re.fullmatch(r"\d{1,6}", asked):
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except (ValueError, TypeError):
        return _USUAL
    until = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
    return max(until.timestamp() - time(), _USUAL)
