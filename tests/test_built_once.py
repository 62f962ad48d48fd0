"""A constructor that downloads weights runs once in a check, and one that cannot download is told as that."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._definition.build import build
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.once import Once
from pytest_ckpt_compat._readers.source.remote import Fetched


class Server(HTTPServer):
    """Counts what it is asked."""

    asked = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"0.5")

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def downloading(server: Server) -> type[nn.Module]:
    class Net(nn.Module):
        def __init__(self, classes: int = 3, pretrained: bool = True) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.layer = nn.Linear(4, 5, bias=False)
            self.layer.weight = self.embed.weight
            self.norm = nn.BatchNorm1d(4)
            self.head = nn.Linear(4, classes)
            self.register_buffer("table", torch.zeros(3), persistent=False)
            if pretrained:
                with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/w") as answer:
                    nn.init.constant_(self.head.weight, float(answer.read()))

    return Net


CASES: dict[str, tuple[dict[str, Any], Any, bool]] = {
    "loads": ({}, dict, True),
    "head resized": ({"classes": 4}, dict, False),
    "wrapped": ({}, lambda state: {f"module.{key}": value for key, value in state.items()}, False),
    "a key less": ({}, lambda state: {k: v for k, v in state.items() if k != "head.bias"}, False),
    "a key more": ({}, lambda state: {**state, "table": torch.zeros(3)}, False),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_constructor_downloads_is_downloaded_once(tmp_path: Path, server: Server, case: str) -> None:
    kwargs, change, loads = CASES[case]
    net = downloading(server)
    torch.save(change(dict(net(pretrained=False).state_dict())), tmp_path / "net.pt")

    verdict = ckpt.check(tmp_path / "net.pt", net, kwargs=kwargs)

    assert server.asked == 1
    assert verdict.compatible is loads
    again = ckpt.check(tmp_path / "net.pt", net, kwargs={**kwargs, "pretrained": False})
    assert [(c.kind, c.old, c.new) for c in verdict.changes] == [
        (c.kind, c.old, c.new) for c in again.changes
    ]
    if case == "a key more":  # what was built without numbers says nothing of them
        assert [c.detail for c in verdict.changes] == ["still there, persistent=False"]
        assert "with these values" in again.changes[0].detail


def _blocked(*args: Any, **kwargs: Any) -> Any:
    raise OSError("no network in tests")


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
@pytest.mark.parametrize("blocked", [False, True])
def test_a_connection_is_seen_and_its_method_left_as_it_was(
    server: Server, method: str, blocked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = socket.socket
    if blocked:  # as a suite does that allows no network
        monkeypatch.setattr(socket, "socket", _blocked)
    before = dict(vars(kind))
    once = Once()
    with once.kept() as built:
        with kind() as opened:
            getattr(opened, method)(("127.0.0.1", server.server_port))
        built.append(nn.Linear(1, 1, device="meta"))
    assert once.module is not None
    assert dict(vars(kind)) == before
    with contextlib.suppress(RuntimeError), Once().kept():
        raise RuntimeError
    assert dict(vars(kind)) == before


def test_what_a_constructor_puts_in_place_of_a_method_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", socket.socket.connect)
    with Once().kept():
        monkeypatch.setattr(socket.socket, "connect", _blocked)
    assert socket.socket.connect is _blocked


def test_a_method_that_takes_more_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite, or a library of green threads, has one of its own in place of the socket's."""
    got: list[object] = []
    monkeypatch.setattr(
        socket.socket, "connect", lambda own, address, timeout=None: got.extend((address, timeout))
    )
    once = Once()
    with once.kept() as built, socket.socket() as opened:
        connect: Any = opened.connect
        connect(address=("127.0.0.1", 1), timeout=3)
        built.append(nn.Linear(1, 1, device="meta"))
    assert got == [("127.0.0.1", 1), 3]
    assert once.module is not None


def test_a_method_that_is_kept_keeps_no_addresses(server: Server) -> None:
    with Once().kept():
        connect = socket.socket.connect
    addresses = [("127.0.0.1", server.server_port) for _ in range(3)]
    for address in addresses:
        with socket.socket() as opened:
            connect(opened, address)
    kept = [
        each
        for each in addresses
        if any(isinstance(by, deque | list) for by in gc.get_referrers(each) if by is not addresses)
    ]
    assert len(kept) <= 1


def test_what_cannot_be_downloaded_is_tried_once(tmp_path: Path) -> None:
    tried = []

    class Net(nn.Module):
        def __init__(self, weights: str | None = "imagenet") -> None:
            super().__init__()
            tried.append(weights)
            if weights:
                raise RuntimeError("no weights") from urllib.error.URLError("unknown host")

    torch.save({"w": torch.zeros(1)}, tmp_path / "net.pt")
    advice = "it downloads something: give weights=None in kwargs, since the checkpoint brings the weights"
    with pytest.raises(ckpt.CkptCompatError, match=advice):
        ckpt.check(tmp_path / "net.pt", Net)
    assert tried == ["imagenet"]


class Sized(nn.Module):
    def __init__(self, width: int, classes: int, device: str = "cpu") -> None:
        super().__init__()
        self.layer = nn.Linear(width, classes)
        if device != "cpu":
            raise AssertionError("Torch not compiled with CUDA enabled")


@pytest.mark.parametrize(
    ("values", "kwargs", "advice"),
    [
        ({}, {}, "; give width, classes in kwargs$"),
        (
            {"config": {"model": {"width": 2, "classes": 3}}},
            {},
            "give width=2, classes=3 in kwargs, which the file",
        ),
        (
            {"config": {"model": {"width": 2, "classes": 3}}},
            {},
            "holds at config.model, or register a factory",
        ),
        ({"args": {"width": 2}}, {}, r"give width=2 in kwargs, which the file holds at args \(and classes\)"),
        ({}, {"width": 1, "depth": 2}, "take depth out of kwargs, and give classes"),
        ({}, {"width": 1, "classes": 2, "device": "cuda"}, 'give device="cpu" in kwargs'),
    ],
)
def test_a_constructor_that_raises_is_told_what_it_lacks(
    tmp_path: Path, values: dict[str, Any], kwargs: dict[str, Any], advice: str
) -> None:
    torch.save({"model": nn.Linear(2, 3).state_dict(), **values}, tmp_path / "net.pt")
    with pytest.raises(ckpt.CkptCompatError, match=advice):
        ckpt.check(tmp_path / "net.pt", Sized, kwargs=kwargs)


def test_a_constructor_without_arguments_is_not_to_be_given_any(tmp_path: Path) -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            raise ValueError("no settings")

    class Open(nn.Module):
        def __init__(self, depth: int = 1) -> None:
            raise ValueError("no settings")

    torch.save({"w": torch.zeros(1)}, tmp_path / "net.pt")
    with pytest.raises(ckpt.CkptCompatError, match="; make it build where the check runs: it takes no arg"):
        ckpt.check(tmp_path / "net.pt", Closed)
    with pytest.raises(ckpt.CkptCompatError, match="; give what it needs in kwargs"):
        ckpt.check(tmp_path / "net.pt", Open)


class Meanwhile(nn.Module):
    """Waits in its constructor until another thread has connected."""

    wanted, done = threading.Event(), threading.Event()

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.done.clear()
        self.wanted.set()
        assert self.done.wait(20)


@contextlib.contextmanager
def connecting(server: Server, around: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    """A thread that connects each time that ``Meanwhile`` waits for it."""
    over = threading.Event()

    def work() -> None:
        with around:
            while Meanwhile.wanted.wait() and not over.is_set():
                Meanwhile.wanted.clear()
                urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/w").close()
                Meanwhile.done.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        Meanwhile.wanted.set()
        thread.join()
        Meanwhile.wanted.clear()


def test_what_another_thread_connects_to_is_not_the_constructors(server: Server) -> None:
    """As one does that reads a checkpoint ahead of its check: which is built meanwhile, chance decides."""
    definition = find(Meanwhile)
    with connecting(server, contextlib.nullcontext()):
        build(definition)
    assert server.asked == 1
    assert definition.once.module is None


class Starts(nn.Module):
    """Connects in a thread of its own."""

    def __init__(self, port: int, around: contextlib.AbstractContextManager[None]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

        def work() -> None:
            with around:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/w").close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


@pytest.mark.parametrize("reads", [False, True])
def test_a_thread_that_begins_meanwhile_counts_unless_it_reads_ahead(server: Server, reads: bool) -> None:
    around = Fetched().used() if reads else contextlib.nullcontext()
    definition = find(Starts, {"port": server.server_port, "around": around})
    module = build(definition)
    assert server.asked == 1
    assert isinstance(module, Starts)
    assert (definition.once.module is None) is reads


class Checks(nn.Module):
    """Makes a check of its own, of a definition that downloads."""

    def __init__(self, inner: type[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        build(find(inner))


def test_what_a_check_in_a_constructor_downloads_counts(server: Server) -> None:
    definition = find(Checks, {"inner": downloading(server)})
    build(definition)
    assert definition.once.module is not None
