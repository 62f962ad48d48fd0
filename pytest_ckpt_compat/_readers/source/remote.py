"""Checkpoints behind a URL, through fsspec: the bytes of the header and no others.

Credentials are those that fsspec's file systems find for themselves (environment, ``~/.aws``,
``huggingface-cli login``, ``~/.netrc``). No message shows them: of a URL only scheme, host and path
are ever written, and of an error only its kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pytest_ckpt_compat._core.addresses import shown
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, UnreachableRefusalError, over_limit
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import plain_name

#: Scheme -> the package that fsspec needs for it.
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
#: First bytes fetched at once: the pickle of a model with 1,000 tensors, or a safetensors header.
_HEAD = 192 << 10
#: Last bytes fetched at once: the zip directory of a model with 1,500 tensors.
_TAIL = 128 << 10
_MORE = 64 << 10
_SECONDS = 60


@contextmanager
def open_url(url: str) -> Iterator[Blob]:
    """Opens what is behind a URL. Raises RefusalError where it cannot be read in parts."""
    stream = _Stream(url)
    try:
        yield Blob(shown(url), stream.size, stream, locatable=False)  # type: ignore[arg-type]
    finally:
        stream.close()


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """What lies beside a file behind a URL.

    Attributes:
        url: of a file in it.
    """

    url: str

    def open(self, name: str) -> AbstractContextManager[Blob]:
        """Opens the file of that name beside the first."""
        parts = urlsplit(self.url)
        name = plain_name(name)
        last = quote(name) if parts.scheme in ("http", "https") else name
        path = parts.path.rpartition("/")[0] + "/" + last
        return open_url(urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")))

    def names(self) -> None:
        """Nothing: listing is a request more, and not every server can."""
        return


class _Stream:
    """A remote file of which stretches are fetched once and kept."""

    def __init__(self, url: str) -> None:
        self._file = _open(url)
        self.size: int = self._file.size
        self._position = 0
        self._kept: list[tuple[int, bytes]] = []
        self._fetched = 0

    def seek(self, offset: int) -> None:
        """Where the next read begins."""
        self._position = offset

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, of which those not fetched before are fetched now."""
        begin = self._position
        end = begin + size
        self._position = end
        for place, (start, kept) in enumerate(self._kept):
            if start <= begin < start + len(kept) or (start == begin and not size):
                have = start + len(kept)
                if end > have:
                    kept += self._fetch(have, min(self.size, max(end, have + _MORE)))
                    self._kept[place] = (start, kept)
                return kept[begin - start : end - start]
        if not size:
            return b""
        start, stop = self._stretch(begin, end)
        kept = self._fetch(start, stop)
        self._kept.append((start, kept))
        return kept[begin - start : end - start]

    def close(self) -> None:
        """Ends the connection."""
        with suppress(Exception):
            self._file.close()

    def _stretch(self, begin: int, end: int) -> tuple[int, int]:
        """What is fetched for a read: more than asked for at the head and the tail of the file."""
        if begin >= self.size - _TAIL:
            return max(0, self.size - _TAIL), self.size
        room = _HEAD if begin == 0 else _MORE
        return begin, min(self.size, max(end, begin + room))

    def _fetch(self, start: int, stop: int) -> bytes:
        self._fetched += stop - start
        if self._fetched > limits.REMOTE_BYTES:
            raise over_limit("bytes to fetch", limits.REMOTE_BYTES)
        with _refusing():
            self._file.seek(start)
            data: bytes = self._file.read(stop - start)
        if len(data) != stop - start:
            raise RefusalError(
                "the server sent another part of it than was asked for", "fetch the file and give its path"
            )
        return data


def _open(url: str) -> Any:
    """The file of fsspec for a URL, its own caching turned off."""
    scheme = url.partition("://")[0].lower()
    if scheme not in _PACKAGES or "::" in url:
        raise RefusalError(
            f"its address is not of a kind that is read ({', '.join(sorted(_PACKAGES))})",
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
            options = _http_options() if scheme in ("http", "https") else {}
            system, path = fsspec.core.url_to_fs(url, **options)
            found = system.open(path, "rb", block_size=_MORE, cache_type="none")
    except ImportError:
        raise missing from None
    if type(found.size) is not int or not found.seekable():
        found.close()
        raise RefusalError("its server does not serve parts of files", "fetch the file and give its path")
    return found


def _http_options() -> dict[str, Any]:
    """Time limits, and a response that is never longer than the range that was asked for."""
    import aiohttp  # type: ignore[import-not-found, unused-ignore]

    class Bounded(aiohttp.ClientResponse):  # type: ignore[misc, unused-ignore]
        def raise_for_status(self) -> None:
            """Also refuses a whole file in answer to a range."""
            super().raise_for_status()
            if self.status != 206 and self._asked() is not None:
                self.close()
                raise _RangeIgnoredError

        async def read(self) -> bytes:
            chunks, length, asked = [], 0, self._asked() or _MORE
            async for chunk in self.content.iter_any():
                chunks.append(chunk)
                length += len(chunk)
                if length > asked:
                    self.close()
                    raise _RangeIgnoredError
            return b"".join(chunks)

        def _asked(self) -> int | None:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
            return int(found[2]) - int(found[1]) + 1 if found else None

    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    return {"client_kwargs": {"timeout": timeout, "response_class": Bounded, "trust_env": True}}


class _RangeIgnoredError(Exception):
    """A server sent more than the range that it was asked for."""


@contextmanager
def _refusing() -> Iterator[None]:
    """Turns what libraries raise into a refusal that says nothing but its kind."""
    try:
        yield
    except (ImportError, RefusalError):
        raise
    except FileNotFoundError:
        raise UnreachableRefusalError(
            "there is no such file, or no access to it", "check the address"
        ) from None
    except PermissionError:
        raise UnreachableRefusalError(
            "there is no access to it", "check the address and your credentials"
        ) from None
    except _RangeIgnoredError:
        raise RefusalError(
            "its server does not serve parts of files", "fetch the file and give its path"
        ) from None
    except Exception as error:
        status = getattr(error, "status", None)
        kind = f"HTTP {status}" if type(status) is int and status else type(error).__name__
        raise UnreachableRefusalError(
            f"it cannot be fetched ({kind})", "check the address, the network and your credentials"
        ) from None
