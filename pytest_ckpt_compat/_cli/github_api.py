"""The comments of a pull request, over GitHub's REST API."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import Any, NoReturn

from pytest_ckpt_compat._core.errors import CkptCompatError, UsageError

_TIMEOUT = 30
#: Attempts at a request that the server fails.
_ATTEMPTS = 3
#: Comments that are asked for at once, the most that GitHub gives, and how often.
_PER_PAGE, _PAGES = 100, 100
#: The status of a limit of requests; seconds to wait where it says none, and the most that are waited.
_LIMITED, _MINUTE, _LONGEST_WAIT = 429, 60.0, 120.0
_LONGEST = 50_000_000
#: Addresses to which a token may be sent: encrypted, or of this machine.
_SAFE = re.compile(r"https://|http://(?:127\.0\.0\.1|localhost)(?:[:/]|$)")
#: Authors whose comments count as ours: the token's own, and people who could edit them anyway.
_TRUSTED = ("OWNER", "MEMBER", "COLLABORATOR")
_LATER = "run the job again; the verdict of the check stands without it"


class GitHubError(CkptCompatError):
    """GitHub did not do what it was asked.

    Attributes:
        status: its HTTP status, or 0 where there was no answer; 429 for every limit of requests.
        wait: seconds after which it may be asked again, where it says so.
    """

    def __init__(self, subject: str, problem: str, advice: str, status: int, wait: float = 0) -> None:
        super().__init__(subject, problem, advice)
        self.status = status
        self.wait = wait


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Sends the token nowhere else."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Never."""


class PullRequest:
    """The comments of one pull request."""

    def __init__(
        self, api: str, repository: str, number: int, token: str, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Names it; connects to nothing.

        Args:
            api: address of the API (``https://api.github.com``).
            repository: ``owner/name``.
            number: the pull request's.
            token: with the permission to write to pull requests.
            pause: waits between two attempts.

        Raises:
            UsageError: the token could be read on its way there.
        """
        if not _SAFE.match(api):
            raise UsageError(f"API {api}", "is not reached by https", "correct GITHUB_API_URL")
        self._root = f"{api.rstrip('/')}/repos/{repository}/issues"
        self._number = number
        self._token = token
        self._pause = pause
        self._opener = urllib.request.build_opener(_NoRedirects)

    def keep(self, marker: str, body: str, create: bool) -> str:
        """Makes the comment with this marker say ``body``.

        Args:
            marker: the first line of the comment.
            body: its whole text.
            create: whether it is posted where there is none.

        Returns:
            ``created``, ``updated``, or ``unchanged``.

        Raises:
            GitHubError: GitHub refuses, fails three times, or does not answer.
        """
        for attempt in range(_ATTEMPTS):
            found: Mapping[str, Any] | None = None
            try:
                found = next((each for each in self._comments() if _is_ours(each, marker)), None)
                if found is not None:
                    return self._update(found, body)
                if not create:
                    return "unchanged"
                self._ask("POST", f"{self._root}/{self._number}/comments", {"body": body})
                return "created"
            except GitHubError as error:
                gone = error.status == 404 and found is not None
                if attempt == _ATTEMPTS - 1 or not (gone or _may_pass(error)):
                    raise
                # What failed may have been done: it is looked for again.
                self._pause(error.wait or 2**attempt)
        raise AssertionError(marker)

    def _update(self, found: Mapping[str, Any], body: str) -> str:
        if str(found.get("body", "")).replace("\r\n", "\n").rstrip() == body.rstrip():
            return "unchanged"
        self._ask("PATCH", f"{self._root}/comments/{int(found['id'])}", {"body": body})
        return "updated"

    def _comments(self) -> Iterator[Mapping[str, Any]]:
        for page in range(1, _PAGES + 1):
            address = f"{self._root}/{self._number}/comments?per_page={_PER_PAGE}&page={page}"
            found, headers = self._ask("GET", address)
            if not isinstance(found, list):
                _refuse(address, "answered with something else than a list", 0)
            yield from (each for each in found if isinstance(each, dict))
            if 'rel="next"' not in headers.get("Link", ""):
                return

    def _ask(self, method: str, address: str, data: Mapping[str, Any] | None = None) -> tuple[Any, Message]:
        request = urllib.request.Request(  # noqa: S310
            address,
            data=None if data is None else json.dumps(data).encode(),
            method=method,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "pytest-ckpt-compat",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read(_LONGEST)), answer.headers
        except urllib.error.HTTPError as error:
            said, wait = _said(error), _wait(error)
            if wait is not None:
                problem = f"answered that its limit of requests is reached{said}: again in {wait:.0f} seconds"
                _refuse(address, problem, _LIMITED, wait)
            _refuse(address, f"answered with {error.code}{said}", error.code)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            _refuse(address, f"cannot be reached ({type(reason).__name__})", 0)
        except ValueError:
            _refuse(address, "answered with something else than JSON", 0)


def _is_ours(comment: Mapping[str, Any], marker: str) -> bool:
    """Whether a comment has the marker, and its author could not be just anybody."""
    author = comment.get("user") or {}
    trusted = author.get("type") == "Bot" or comment.get("author_association") in _TRUSTED
    return trusted and str(comment.get("body", "")).split("\n", 1)[0].strip() == marker


def _may_pass(error: GitHubError) -> bool:
    if error.status == _LIMITED:
        return error.wait <= _LONGEST_WAIT
    return error.status == 0 or error.status >= 500


def _wait(error: urllib.error.HTTPError) -> float | None:
    """Seconds until GitHub may be asked again, where a limit of requests is reached; None where none is.

    It answers with 429, or with 403 as it does to a token without permission: then a header tells. Where none
    says when, it asks for a minute.
    """
    after, left, reset = (
        str(error.headers.get(name, "")).strip()
        for name in ("Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    )
    if error.code not in (403, _LIMITED) or not (error.code == _LIMITED or after or left == "0"):
        return None
    if after.isdecimal():
        return float(after)
    if left == "0" and reset.isdecimal():
        return max(float(reset) - time.time(), 1.0)
    return _MINUTE


def _said(error: urllib.error.HTTPError) -> str:
    try:
        message = json.loads(error.read(10_000))["message"]
    except (ValueError, KeyError, TypeError, OSError):
        return ""
    return f" ({str(message)[:200]})"


def _refuse(address: str, problem: str, status: int, wait: float = 0) -> NoReturn:
    raise GitHubError(address.partition("?")[0], problem, _LATER, status, wait) from None
