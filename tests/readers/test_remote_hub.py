"""``hf://`` against a server on this machine that answers as the Hugging Face Hub does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

ROOT = Path(__file__).parents[2]
READ = """
import sys
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read
for url in sys.argv[1:]:
    try:
        found = read(url)
        print(found.source.path, len(found.tensors))
    except ReadError as error:
        print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """One repository ``o/n`` with one file."""

    content: ClassVar[bytes]
    requests: ClassVar[list[str]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.requests.append(self.path)
        assert self.headers["Authorization"] in (None, "Bearer hf_hunter2")
        if "/tree/" in self.path:
            entry = {"type": "file", "path": "m.pt", "size": len(self.content), "oid": "a" * 40}
            self.answer(json.dumps([entry]).encode())
        elif self.path.startswith("/api/models/o/n"):
            self.answer(json.dumps({"id": "o/n", "_id": "1", "sha": "b" * 40, "siblings": []}).encode())
        elif "/resolve/" in self.path:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
            begin, end = (int(found[1]), int(found[2]) + 1) if found else (0, len(self.content))
            self.answer(self.content[begin:end], f"bytes {begin}-{end - 1}/{len(self.content)}")
        else:
            self.answer(b"{}", status=404)

    def answer(self, body: bytes, part: str = "", status: int = 200) -> None:
        self.send_response(206 if part else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    torch.save({f"layer.{n}.weight": torch.ones(10_000) for n in range(50)}, tmp_path / "m.pt")
    requests: list[str] = []
    handler = type("Bound", (Hub,), {"content": (tmp_path / "m.pt").read_bytes(), "requests": requests})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}", requests
        listening.shutdown()


def test_files_of_the_hub(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    pytest.importorskip("fsspec", reason="reads URLs")
    pytest.importorskip("huggingface_hub", reason="reads hf://")
    address, requests = hub
    variables = {
        "HF_ENDPOINT": address,
        "HF_TOKEN": "hf_hunter2",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    urls = ["hf://o/n@v1/m.pt", "hf://o/n/absent.pt"]
    done = subprocess.run(
        [sys.executable, "-c", READ, *urls],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "hf://o/n@v1/m.pt 50",
        "hf://o/n/absent.pt: there is no such file, or no access to it; check the address",
    ]
    ranges = [path for path in requests if "/resolve/" in path]
    assert ranges == ["/o/n/resolve/v1/m.pt"] * 2
    assert len([path for path in requests if "v1" in path]) <= 4
