"""W&B's API on this machine: it answers what ``wandb.Api`` asks for runs and their files, by operation.

Answers have the form that the queries of wandb 0.31 ask for; the library checks it, since it parses them.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pytest_ckpt_compat._core.training_runs import FILE, SUMMARY

KEY = "0123456789" * 4


@dataclass
class Run:
    """A run of the project ``team/classifier``; ``text`` is its fingerprint, "" where it has none."""

    id: str
    text: str
    tags: tuple[str, ...] = ()

    def node(self) -> dict[str, Any]:
        """The run as the API gives it."""
        return {
            "id": base64.b64encode(f"Run:v1:{self.id}:classifier:team".encode()).decode(),
            "name": self.id,
            "displayName": f"run {self.id}",
            "state": "finished",
            "config": "{}",
            "summaryMetrics": json.dumps({SUMMARY: FILE} if self.text else {}),
            "systemMetrics": "{}",
            "historyKeys": {"keys": {}},
            "historyLineCount": 0,
            "tags": list(self.tags),
            "group": None,
            "jobType": None,
            "commit": None,
            "notes": None,
            "sweepName": None,
            "description": "",
            "readOnly": False,
            "createdAt": "2026-11-01T00:00:00",
            "heartbeatAt": "2026-11-01T00:00:00",
            "user": {"name": "ann", "username": "ann"},
            "projectId": "1",
            "internalId": "1",
        }


@dataclass
class WandB:
    """The server's state.

    Attributes:
        address: of the API.
        runs: those of the project, the newest first.
        bare: whether a file that is not there has no entry, instead of an empty one.
        asked: (operation, its variables) of each query.
        strange: operations that it does not know.
    """

    address: str
    runs: list[Run] = field(default_factory=list)
    bare: bool = False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    def answer(self, operation: str, given: dict[str, Any], known: bool) -> dict[str, Any]:
        """The data of an answer."""
        self.asked.append((operation, given))
        viewer = {"id": "VXNlcjox", "entity": "team"}
        if operation == "Viewer":
            person = {"username": "ann", "email": "ann@example.org", "flags": "{}"}
            whole = {**viewer, **person, "teams": {"edges": [{"node": {"name": "team"}}]}}
            return {"viewer": whole if known else None}
        if operation == "GetDefaultEntity":
            return {"viewer": viewer if known else None}
        if (given.get("entity"), given.get("project")) != ("team", "classifier"):
            return {"project": None}
        run = next((each for each in self.runs if each.id == given.get("name")), None)
        if operation == "Runs":
            return {"project": {"internalId": "1", "readOnly": False, **self._page(given)}}
        if operation == "Run":
            return {"project": {"internalId": "1", "run": run and run.node()}}
        if operation == "RunFiles":
            edges = [{"node": each, "cursor": "1"} for each in self._files(run, given["fileNames"])]
            files = {"edges": edges, "pageInfo": {"endCursor": "1", "hasNextPage": False}}
            return {"project": {"internalId": "1", "run": {"fileCount": len(edges), "files": files}}}
        self.strange.append(operation)
        return {}

    def _page(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted = json.loads(given["filters"]).get("tags", {}).get("$in")
        every = [each for each in self.runs if wanted is None or set(wanted) & set(each.tags)]
        first = int(given["cursor"] or 0)
        shown = every[first : first + given["perPage"]]
        end = first + len(shown)
        edges = [{"node": each.node(), "cursor": str(first + at)} for at, each in enumerate(shown, 1)]
        more = {"endCursor": str(end), "hasNextPage": end < len(every)}
        return {
            "runCount": len(every),
            "runs": {"totalCount": len(every), "edges": edges, "pageInfo": more},
        }

    def _files(self, run: Run | None, names: list[str]) -> Iterator[dict[str, Any]]:
        for name in names:
            text = run.text if run and name == FILE else ""
            if text or not self.bare:
                url = f"{self.address}/files/team/classifier/{run.id if run else ''}/{name}"
                yield {
                    "id": "RmlsZTox",
                    "name": name,
                    "url": url,
                    "directUrl": url,
                    "sizeBytes": len(text.encode()),
                    "mimetype": "application/json",
                    "updatedAt": "2026-11-01T00:00:00",
                    "md5": "",
                }


@contextmanager
def running() -> Iterator[WandB]:
    """The server, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path != "/graphql":  # how the library itself is doing
                return self._send(b"{}")
            query = json.loads(data)
            known = self.headers.get("Authorization", "") == f"Basic {_basic()}"
            (operation,) = re.findall(r"\bquery (\w+)", query["query"])
            found = server.answer(operation, query.get("variables") or {}, known)
            return self._send(json.dumps({"data": found}).encode())

        def do_GET(self) -> None:
            run = next((each for each in server.runs if f"/{each.id}/" in self.path), None)
            self._send(run.text.encode() if run else b"")

        def _send(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = WandB(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _basic() -> str:
    return base64.b64encode(f"api:{KEY}".encode()).decode()
