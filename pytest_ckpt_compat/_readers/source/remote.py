"""Checkpoints behind a URL, read through fsspec. Only headers are fetched, not tensor data.

fsspec's file systems find credentials on their own (environment, ``~/.aws``,
``huggingface-cli login``, ``~/.netrc``). No message shows them: messages contain only the scheme,
host and path of a URL, and only the kind of an error.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from pytest_ckpt_compat._core.addresses import redacted
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, UnreachableRefusalError, over_limit
from pytest_ckpt_compat._readers.source import http
from pytest_ckpt_compat._readers.source.fetching import FETCHED
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import plain_name

_T = TypeVar("_T")

#: URL scheme -> the package that fsspec needs for it.
_PACKAGES = {
    "http": "aiohttp",
    "https": "aiohttp",
    "hf": "huggingface_hub",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
#: Bytes of the first request: enough for the pickle of 1,000 tensors, or a safetensors header.
_HEAD = 192 << 10
#: Bytes of a request at the end of the file: enough for the zip directory of 1,500 tensors.
_TAIL = 128 << 10
#: Least bytes of any other request.
_MORE = 64 << 10


class Fetched:
    """What was fetched for one checkpoint, kept for those who read it again: parts of files, and refusals."""

    def __init__(self) -> None:
        self._streams: dict[str, _Stream | RefusalError] = {}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Lets what is read inside, in this thread, fetch nothing twice."""
        token = FETCHED.set(self)
        try:
            yield
        finally:
            FETCHED.reset(token)

    def stream(self, url: str) -> _Stream:
        """The file behind a URL, opened once; what refused it then refuses it again."""
        if url not in self._streams:
            try:
                self._streams[url] = _Stream(url)
            except RefusalError as refusal:
                self._streams[url] = refusal
        found = self._streams[url]
        if isinstance(found, RefusalError):
            raise found.with_traceback(None)
        return found

    def close(self) -> None:
        """Closes the connections."""
        for each in self._streams.values():
            if isinstance(each, _Stream):
                each.close()


@contextmanager
def open_url(url: str) -> Iterator[Blob]:
    """Opens the file behind a URL. Refuses a server that cannot send parts of it."""
    fetched: Fetched | None = FETCHED.get()
    stream = _Stream(url) if fetched is None else fetched.stream(url)
    try:
        yield Blob(redacted(url), stream.size, stream, locatable=False)  # type: ignore[arg-type]
    finally:
        if fetched is None:
            stream.close()


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """The remote folder that holds a given file.

    Attributes:
        url: the URL of that file.
    """

    url: str

    def open(self, name: str) -> AbstractContextManager[Blob]:
        """Opens the file ``name`` in the folder."""
        return open_url(self.url_of(name))

    def url_of(self, name: str) -> str:
        """The URL of the file ``name`` in the folder."""
        parts = urlsplit(self.url)
        name = plain_name(name)
        last = quote(name) if parts.scheme in ("http", "https") else name
        path = parts.path.rpartition("/")[0] + "/" + last
        return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))

    def names(self) -> None:
        """Returns None: a listing costs one more request, and not every server offers it."""
        return


class _Stream:
    """A remote file. Each part is fetched at most once and kept; what refused one then refuses all."""

    def __init__(self, url: str) -> None:
        self._file = _open(url)
        self.size: int = self._file.size
        self._version = http.Version(self.size)
        self._refusal: RefusalError | None = None
        self._position = 0
        self._kept: list[tuple[int, bytes]] = []
        self._fetched = 0

    def seek(self, offset: int) -> None:
        """Sets the offset of the next read."""
        self._position = offset

    def read(self, size: int) -> bytes:
        """Reads exactly ``size`` bytes, fetching those not fetched before."""
        begin = self._position
        end = begin + size
        self._position = end
        for index, (start, kept) in enumerate(self._kept):
            if start <= begin < start + len(kept) or (start == begin and not size):
                have = start + len(kept)
                if end > have:
                    kept += self._fetch(have, min(self.size, max(end, have + _MORE)))
                    self._kept[index] = (start, kept)
                return kept[begin - start : end - start]
        if not size:
            return b""
        start, stop = self._range(begin, end)
        kept = self._fetch(start, stop)
        self._kept.append((start, kept))
        return kept[begin - start : end - start]

    def close(self) -> None:
        """Closes the connection."""
        with suppress(Exception):
            self._file.close()

    def _range(self, begin: int, end: int) -> tuple[int, int]:
        """Returns the range to fetch for a read, larger at the start and the end of the file."""
        if begin >= self.size - _TAIL:
            return max(0, self.size - _TAIL), self.size
        room = _HEAD if begin == 0 else _MORE
        return begin, min(self.size, max(end, begin + room))

    def _fetch(self, start: int, stop: int) -> bytes:
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)
        try:
            return self._fetched_part(start, stop)
        except RefusalError as refusal:
            self._refusal = refusal
            raise

    def _fetched_part(self, start: int, stop: int) -> bytes:
        self._fetched += stop - start
        if self._fetched > limits.REMOTE_BYTES:
            raise over_limit("bytes to fetch", limits.REMOTE_BYTES)
        with _refusing(), self._version.kept():
            data = http.patiently(lambda: self._asked(start, stop))
        if len(data) != stop - start:
            raise RefusalError(
                "its server sent a different part of the file than requested",
                "fetch the file and give its path",
            )
        return data

    def _asked(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        data: bytes = self._file.read(stop - start)
        return data


def _open(url: str) -> Any:
    """Opens a URL with fsspec, whose own caching is turned off."""
    found = with_system(url, http.options, lambda system, path: http.patiently(lambda: _opened(system, path)))
    if type(found.size) is not int or not found.seekable():
        found.close()
        raise RefusalError("its server does not serve parts of files", "fetch the file and give its path")
    return found


def with_system(url: str, http_options: Callable[[], dict[str, Any]], work: Callable[[Any, str], _T]) -> _T:
    """Does something with the fsspec file system of a URL and the path in it.

    Args:
        url: the URL.
        http_options: gives the options of the file system for HTTP.
        work: gets the file system and the path.

    Raises:
        RefusalError: the scheme is not supported, or ``work`` raises; the message quotes no secret.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in _PACKAGES or "::" in url:
        raise RefusalError(
            f"its URL is not of a supported kind ({', '.join(sorted(_PACKAGES))})",
            "fetch the file and give its path",
        )
    missing = UnreachableRefusalError(
        f"reading {scheme}:// needs fsspec and {_PACKAGES[scheme]}",
        f'run: pip install "pytest-ckpt-compat[remote]" {_PACKAGES[scheme]}',
    )
    try:
        import fsspec  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise missing from None
    try:
        with _refusing():
            options = http_options() if scheme in ("http", "https") else {}
            system, path = fsspec.core.url_to_fs(url, **options)
            return work(system, path)
    except ImportError:
        raise missing from None


def _opened(system: Any, path: str) -> Any:
    """Opens a file; refuses a folder where the server can say that it is one."""
    protocols = {system.protocol} if isinstance(system.protocol, str) else {*system.protocol}
    listed = not protocols & {"http", "https"}
    directory = RefusalError(
        "it is a directory, and those at an address are not listed",
        "give the address of a file in it: *.index.json, .metadata, or the one with the weights",
    )
    try:
        found = system.open(path, "rb", block_size=_MORE, cache_type="none")
    except (FileNotFoundError, IsADirectoryError):
        if listed and system.isdir(path):
            raise directory from None
        raise
    if listed and not found.size and system.isdir(path):
        found.close()
        raise directory
    return found


@contextmanager
def _refusing() -> Iterator[None]:
    """Turns errors of libraries into refusals that name only the kind of error."""
    try:
        yield
    except (ImportError, RefusalError):
        raise
    except FileNotFoundError as error:
        raise _not_found(error.__cause__) from None
    except PermissionError:
        raise UnreachableRefusalError(
            "there is no access to it", "check the address and your credentials"
        ) from None
    except http.ChangedError:
        raise RefusalError(
            "it changed while it was read",
            "run again once nothing writes to it, or fetch the file and give its path",
        ) from None
    except http.RangeIgnoredError:
        raise RefusalError(
            "its server does not serve parts of files", "fetch the file and give its path"
        ) from None
    except Exception as error:
        raise _not_fetched(error) from None


def _untrusted(error: BaseException | None) -> str | None:
    """Why a certificate was refused, where that is at the bottom of an error; libraries wrap it."""
    seen: list[object] = []
    found = None
    while isinstance(error, BaseException) and error not in seen:
        if isinstance(error, ssl.SSLCertVerificationError):  # aiohttp's, too, which has no message
            found = getattr(error, "verify_message", "") or "it could not be verified"
        seen.append(error)
        inner = (getattr(error, name, None) for name in ("certificate_error", "os_error", "reason"))
        causes = (*inner, error.__cause__, error.__context__, *error.args)
        error = next((each for each in causes if isinstance(each, BaseException)), None)
    return found


def _not_found(cause: BaseException | None) -> RefusalError:
    """Makes the refusal of a file that was not found: over HTTP, fsspec says so of any failure."""
    status = getattr(cause, "status", None)
    if isinstance(cause, (TimeoutError, asyncio.TimeoutError)):  # its module is not aiohttp's
        return _not_fetched(cause)
    if status == 404 or cause is None or not type(cause).__module__.startswith("aiohttp"):
        return UnreachableRefusalError("there is no such file, or no access to it", "check the address")
    return _not_fetched(cause)


def _not_fetched(error: BaseException) -> RefusalError:
    untrusted = _untrusted(error)
    if untrusted is not None:
        return UnreachableRefusalError(
            f"the certificate of its server is not trusted ({visible(untrusted)})",
            "check the address; if an authority of your own has signed it, set SSL_CERT_FILE to that "
            "authority's certificate",
        )
    status = getattr(error, "status", None)
    if http.is_busy(status):
        return UnreachableRefusalError(f"its server is too busy (HTTP {status})", "run again later")
    if type(status) is int and status:
        return UnreachableRefusalError(
            f"it cannot be fetched (HTTP {status})", "check the address, the network and your credentials"
        )
    kind = type(error).__name__
    if isinstance(error, (OSError, asyncio.TimeoutError)):
        return UnreachableRefusalError(
            f"its server cannot be reached ({kind})", "check the host in the address, and the network"
        )
    return UnreachableRefusalError(
        f"it cannot be fetched ({kind})", "check the address, the network and your credentials"
    )
