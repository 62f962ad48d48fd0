"""Checkpoints behind URLs: few requests, few bytes, and no credential in any message."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file

from pytest_ckpt_compat._core.addresses import redacted
from pytest_ckpt_compat._core.errors import ReadError, UnreachableError
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._readers.source import http
from pytest_ckpt_compat._readers.source.remote import Fetched
from tests.readers.agreement import network

GIGABYTE = 1 << 30


@dataclass
class Server:
    """A server of a folder, on this machine alone, that notes what it is asked for.

    Attributes:
        folder: what it serves.
        mode: how it answers: "ranges" as it should, or wrongly in one of the ways below.
        first: status and headers of its first answers.
        marks: headers of its first answers with parts.
        breaking_off: how many answers with parts end early.
        requests: method and range of each request.
        sent: bytes of bodies sent.
    """

    folder: Path
    url: str = ""
    mode: str = "ranges"
    first: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    marks: list[dict[str, str]] = field(default_factory=list)
    breaking_off: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0

    def refusal(self, path: Path) -> tuple[int, dict[str, str]] | None:
        """Status and headers of an answer without the file."""
        if self.first:
            return self.first.pop(0)
        if self.mode.isdigit():
            return int(self.mode), {}
        return None if path.is_file() else (404, {})


class Handler(BaseHTTPRequestHandler):
    server_state: ClassVar[Server]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        state = self.server_state
        wanted = self.headers.get("Range", "")
        state.requests.append((self.command, wanted))
        path = state.folder / self.path.partition("?")[0].lstrip("/")
        refusal = state.refusal(path)
        if refusal is not None:
            self.reply(refusal[0], {"Content-Length": "0", **refusal[1]})
            return
        size = path.stat().st_size
        begin, end = 0, size
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if found and state.mode in ("ranges", "short"):
            begin, end = int(found[1]), min(size, int(found[2]) + 1)
        headers = {"Content-Length": str(end - begin)}
        if state.mode == "no length":
            headers = {"Connection": "close"}
        if state.mode == "none":
            headers["Accept-Ranges"] = "none"
        partial = found and state.mode in ("ranges", "short", "whole as part")
        if partial:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        if state.mode == "short":
            end = max(begin, end - 10)
            headers["Content-Length"] = str(end - begin)
        if partial and state.marks:
            headers |= state.marks.pop(0)
        self.reply(206 if partial else 200, headers)
        if partial and state.breaking_off:
            state.breaking_off -= 1
            self.close_connection = True
            return
        if body:
            self.send(path, begin, end)

    def reply(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, path: Path, begin: int, end: int) -> None:
        state = self.server_state
        with path.open("rb") as stream:
            stream.seek(begin)
            try:
                while begin < end:
                    data = stream.read(min(1 << 16, end - begin))
                    self.wfile.write(data)
                    begin += len(data)
                    state.sent += len(data)
            except OSError:
                self.close_connection = True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pytest.importorskip("fsspec", reason="reads URLs")
    pytest.importorskip("aiohttp", reason="reads URLs")
    state = Server(tmp_path)
    handler = type("Bound", (Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        state.url = f"http://127.0.0.1:{listening.server_address[1]}"
        yield state
        listening.shutdown()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a server was waited for, each time, when 2027 begins; nobody waits."""
    found: list[float] = []
    monkeypatch.setattr(http, "time", datetime(2027, 1, 1, tzinfo=timezone.utc).timestamp)
    monkeypatch.setattr(http, "sleep", found.append)
    return found


def sparse_safetensors(path: Path, size: int = GIGABYTE) -> None:
    """300 tensors that take a gigabyte, on disk only a header."""
    rows = size // 300 // 4096
    header, begin = {}, 0
    for number in range(300):
        end = begin + rows * 4096
        header[f"model.layers.{number}.self_attn.weight"] = {
            "dtype": "F32", "shape": [rows, 1024], "data_offsets": [begin, end],
        }  # fmt: skip
        begin = end
    raw = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(raw)) + raw)
        stream.truncate(8 + len(raw) + begin)


def large_torch_zip(path: Path, size: int = GIGABYTE) -> None:
    """A file of torch.save with 300 tensors that take a gigabyte."""
    with torch.serialization.skip_data():
        rows = size // 300 // 4096
        state = {f"model.layers.{n}.self_attn.weight": torch.empty(rows, 1024) for n in range(300)}
        torch.save({"model": state, "epoch": 1}, path)


@pytest.mark.parametrize(
    ("name", "write"), [("m.safetensors", sparse_safetensors), ("m.pt", large_torch_zip)]
)
def test_a_gigabyte_takes_few_requests(server: Server, name: str, write: Callable[[Path], None]) -> None:
    write(server.folder / name)
    assert (server.folder / name).stat().st_size > 0.99 * GIGABYTE
    structure = read(f"{server.url}/{name}")
    assert len(structure.tensors) == 300
    assert structure.tensors == read(server.folder / name).tensors
    assert len(server.requests) <= 3
    assert server.sent < 400_000
    assert structure.source.path == f"{server.url}/{name}"
    assert not structure.locations


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_formats(server: Server) -> None:
    net = network()
    state = net.state_dict()
    torch.save(state, server.folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": state, "lr": 0.1}, server.folder / "run.ckpt")
    save_file({"a": torch.ones(1)}, server.folder / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(1)}, server.folder / "model-00002-of-00002.safetensors")
    weight_map = {name: f"model-0000{n}-of-00002.safetensors" for n, name in ((1, "a"), (2, "b"))}
    (server.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert list(read(f"{server.url}/legacy.pt").tensors) == list(state)
    assert list(read(f"{server.url}/run.ckpt").tensors) == list(state)
    assert read(f"{server.url}/model.safetensors.index.json?download=1").tensors.keys() == {"a", "b"}


def test_headers_longer_than_the_first_fetch(server: Server) -> None:
    save_file({f"{'x' * 100}{n}": torch.ones(1) for n in range(3000)}, server.folder / "m.safetensors")
    assert len(read(f"{server.url}/m.safetensors").tensors) == 3000
    torch.save({f"{'x' * 100}{n}": torch.ones(1) for n in range(3000)}, server.folder / "m.pt")
    assert len(read(f"{server.url}/m.pt").tensors) == 3000


@pytest.mark.parametrize(
    "mode", ["whole", "whole as part", "none", "no length", "short", "403", "404", "500"]
)
def test_a_server_that_misbehaves_is_stopped(server: Server, mode: str) -> None:
    sparse_safetensors(server.folder / "m.safetensors", 200 << 20)
    server.mode = mode
    with pytest.raises(ReadError) as caught:
        read(f"{server.url}/m.safetensors")
    assert len(server.requests) <= 3
    assert server.sent < 20_000_000  # what fits in the buffers of the connection
    assert caught.value.advice in (
        "fetch the file and give its path",
        "run again once nothing writes to it, or fetch the file and give its path",
        "check the address",
        "check the address, the network and your credentials",
    )


def long_header(server: Server) -> str:
    """The address of a file whose header takes two requests."""
    save_file({f"{'x' * 100}{n}": torch.ones(1) for n in range(3000)}, server.folder / "m.safetensors")
    return f"{server.url}/m.safetensors"


@pytest.mark.parametrize(
    ("status", "headers", "times", "slept"),
    [
        (429, {"Retry-After": "7"}, 2, [7.0]),
        (503, {}, 2, [1.0]),
        (503, {"Retry-After": "soon"}, 4, [1.0, 1.0]),
        (429, {"Retry-After": "Fri, 01 Jan 2027 00:00:09 GMT"}, 2, [9.0]),
        (429, {"Retry-After": "Fri, 01 Jan 2027 00:00:09 -0000"}, 2, [9.0]),
        (503, {"Retry-After": "Thu, 31 Dec 2026 00:00:00 GMT"}, 2, [1.0]),
    ],
)
def test_a_busy_server_is_asked_again(
    server: Server, waits: list[float], status: int, headers: dict[str, str], times: int, slept: list[float]
) -> None:
    address = long_header(server)
    server.first = [(status, headers)] * times  # by HEAD, and by GET
    assert len(read(address).tensors) == 3000
    assert waits == slept


@pytest.mark.parametrize(
    ("status", "wait", "slept"),
    [
        (429, "3600", []),
        (429, "Fri, 01 Jan 2027 01:00:00 GMT", []),
        (429, "2", [2.0, 2.0]),
        (503, "1", [1.0, 1.0]),
    ],
)
def test_a_server_that_stays_busy_is_left(
    server: Server, waits: list[float], status: int, wait: str, slept: list[float]
) -> None:
    server.first = [(status, {"Retry-After": wait})] * 99
    with pytest.raises(UnreachableError) as caught:
        read(long_header(server))
    assert waits == slept
    assert (caught.value.problem, caught.value.advice) == (
        f"its server is too busy (HTTP {status})",
        "run again later",
    )


@pytest.mark.parametrize("times", [1, 2])
def test_a_part_that_breaks_off_is_asked_for_again(server: Server, waits: list[float], times: int) -> None:
    address = long_header(server)
    server.breaking_off = times
    assert len(read(address).tensors) == 3000
    assert waits == [0.0] * times


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ([{"Content-Range": "bytes 0-196607/99"}], "it changed while it was read"),
        ([{"Content-Range": "bytes 5-196612/{size}"}], "its server does not serve parts of files"),
        ([{"ETag": '"a"'}, {"ETag": '"b"'}], "it changed while it was read"),
        ([{"ETag": '"a"', "Last-Modified": "x"}, {"ETag": '"b"', "Last-Modified": "x"}], ""),
        (
            [{"ETag": '"a"', "Last-Modified": "x"}, {"ETag": '"b"', "Last-Modified": "y"}],
            "it changed while it was read",
        ),
        ([{"ETag": '"a"'}, {}], ""),
        ([{"Content-Range": "bytes 0-196607/*"}, {}], ""),
    ],
)
def test_parts_of_two_files_are_not_taken_for_one(
    server: Server, headers: list[dict[str, str]], problem: str
) -> None:
    address = long_header(server)
    size = (server.folder / "m.safetensors").stat().st_size
    server.marks = [
        {name: text.replace("{size}", str(size)) for name, text in each.items()} for each in headers
    ]
    if not problem:
        assert len(read(address).tensors) == 3000
        return
    with pytest.raises(ReadError, match=problem):
        read(address)


def test_what_refused_a_part_then_refuses_it_again(server: Server, waits: list[float]) -> None:
    address = long_header(server)
    server.breaking_off = 99
    fetched = Fetched()
    for _ in range(3):
        with fetched.used(), pytest.raises(UnreachableError, match="ClientPayloadError"):
            read(address)
    assert len([each for each in server.requests if each[1]]) == 3
    assert waits == [0.0, 0.0]


def test_nobody_answers() -> None:
    pytest.importorskip("aiohttp", reason="reads URLs")
    with pytest.raises(UnreachableError) as caught:
        read("http://127.0.0.1:9/m.pt")
    assert caught.value.problem == "its server cannot be reached (ClientConnectorError)"
    assert caught.value.advice == "check the host in the address, and the network"


SECRETS = ("hunter2", "tokentoken", "SIGNATURE")


@pytest.mark.parametrize("mode", ["ranges", "403", "404", "whole"])
def test_credentials_reach_no_message(server: Server, mode: str) -> None:
    torch.save(network().state_dict(), server.folder / "m.pt")
    torch.save(3, server.folder / "bad.pt")
    server.mode = mode
    address = server.url.removeprefix("http://")
    for name in ("m.pt", "bad.pt", "absent.pt"):
        url = f"http://user:hunter2@{address}/{name}?token=tokentoken&X-Amz-Signature=SIGNATURE#x"
        try:
            printed = repr(read(url))
        except ReadError as error:
            printed = f"{error} {error!r} {error.args}"
        assert f"{address}/{name}" in printed or "tensors" in printed
        assert not any(secret in printed for secret in SECRETS)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://u:p@h:8/a/b.pt?q=1#f", "https://h:8/a/b.pt"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("https://u:p@[h/a.pt", "https://"),
        ("hf://owner/name@main/f.safetensors", "hf://owner/name@main/f.safetensors"),
    ],
)
def test_what_is_shown_of_a_url(url: str, text: str) -> None:
    assert redacted(url) == text


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "memory://x", "simplecache::https://x/y", "https://a/x::file://b", "ftp://x/y"],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ReadError, match=r"URL is not of a supported kind|no such file"):
        read(url)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ReadError, match=r"s3:// needs fsspec and s3fs; run: pip install .*\[remote\]"):
        read("s3://bucket/m.pt")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A local S3: its address and a log with a line for each request."""
    for library in ("moto", "flask", "s3fs"):
        pytest.importorskip(library, reason="serves S3")
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        yield _address(log, process), log
    finally:
        process.terminate()
        process.wait(10)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(300):
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found:
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.skip("the local S3 does not start")


@pytest.mark.filterwarnings("ignore")  # those of botocore
@pytest.mark.parametrize(
    ("name", "write"), [("m.safetensors", sparse_safetensors), ("m.pt", large_torch_zip)]
)
def test_s3(
    tmp_path: Path,
    s3: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    write: Callable[[Path, int], None],
) -> None:
    address, log = s3
    for variable, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    write(tmp_path / name, 20 << 20)
    content = (tmp_path / name).read_bytes()
    for path, data in (("/bucket", b""), (f"/bucket/{name}", content), ("/bucket/run/.metadata", b"x")):
        request = urllib.request.Request(address + path, data=data, method="PUT")
        request.add_header("Content-Type", "application/octet-stream")
        request.add_header(
            "Authorization", "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request"
        )
        urllib.request.urlopen(request).close()
    before = log.read_text().count(f"/bucket/{name}")
    structure = read(f"s3://bucket/{name}")
    assert structure.tensors == read(tmp_path / name).tensors
    asked = log.read_text().count(f"/bucket/{name}") - before
    assert 1 < asked <= 3
    with pytest.raises(ReadError) as caught:
        read("s3://bucket/absent.pt")
    assert str(caught.value).startswith("s3://bucket/absent.pt: there is no such file")
    with pytest.raises(ReadError) as caught:
        read("s3://bucket/run")
    assert caught.value.problem == "it is a directory, and those at an address are not listed"
    assert ".metadata" in caught.value.advice
