"""GitHub's comments on a pull request, on this machine: what is written stays, and its documented rules hold.

Rules of the REST API of version 2022-11-28 that it holds a client to: pages of 30 comments, or up to 100,
with a ``Link``; a body of 1 to 65,536 characters; a token that may write, or only read; limits of requests,
primary and secondary.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN, READ_ONLY = "ghs_writes", "ghs_reads"
LONGEST = 65_536
_COMMENTS = re.compile(r"/repos/acme/models/issues/7/comments")
_COMMENT = re.compile(r"/repos/acme/models/issues/comments/(\d+)")


@dataclass
class GitHub:
    """The server's state.

    Attributes:
        address: of the API.
        comments: id -> comment.
        limits: (status, headers) of the next answers, whatever is asked.
        asked: method and path of each request.
    """

    address: str
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    limits: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def add(self, body: str, login: str = "github-actions[bot]", kind: str = "Bot") -> dict[str, Any]:
        """Posts a comment as somebody."""
        number = 3001 + len(self.comments)
        made = {
            "id": number,
            "body": body,
            "user": {"login": login, "type": kind},
            "author_association": "NONE",
        }
        self.comments[number] = made
        return made

    @property
    def ours(self) -> list[str]:
        """The texts of the bot's comments."""
        return [each["body"] for each in self.comments.values() if each["user"]["type"] == "Bot"]

    def answer(self, method: str, path: str, token: str, sent: Any) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of an answer."""
        self.asked.append(f"{method} {path}")
        if self.limits:
            status, headers = self.limits.pop(0)
            return status, {"message": "API rate limit exceeded for installation."}, headers
        if token not in (TOKEN, READ_ONLY):
            return 401, {"message": "Bad credentials"}, {}
        parts = urlsplit(path)
        one = _COMMENT.fullmatch(parts.path)
        if method == "GET" and _COMMENTS.fullmatch(parts.path):
            return self._page(parts.query)
        if method not in ("POST", "PATCH") or not (one or _COMMENTS.fullmatch(parts.path)):
            return 404, {"message": "Not Found"}, {}
        if token == READ_ONLY:
            left = {"X-RateLimit-Remaining": "4999"}
            return 403, {"message": "Resource not accessible by integration"}, left
        body = sent.get("body") if isinstance(sent, dict) else None
        if not isinstance(body, str) or not body.strip() or len(body) > LONGEST:
            return 422, {"message": "Validation Failed", "errors": ["Body is too long"]}, {}
        if one is None:
            return 201, self.add(body), {}
        found = self.comments.get(int(one[1]))
        if found is None:
            return 404, {"message": "Not Found"}, {}
        found["body"] = body
        return 200, found, {}

    def _page(self, query: str) -> tuple[int, Any, dict[str, str]]:
        options = {name: int(values[-1]) for name, values in parse_qs(query).items()}
        size, page = min(options.get("per_page", 30), 100), options.get("page", 1)
        every = list(self.comments.values())
        more = page * size < len(every)
        following = f"{self.address}/repositories/1/issues/7/comments?per_page={size}&page={page + 1}"
        headers = {"Link": f'<{following}>; rel="next"'} if more else {}
        return 200, every[(page - 1) * size : page * size], headers


@contextmanager
def running() -> Iterator[GitHub]:
    """The server, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, body, headers = github.answer(
                self.command, self.path, token, json.loads(data) if data else None
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github = GitHub(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield github
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
