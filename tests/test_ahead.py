"""Checkpoints at addresses are read some at once, each header once a run, with the errors of each alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from pytest_ckpt_compat._check import ahead as module
from pytest_ckpt_compat._check.ahead import AT_ONCE, Ahead
from pytest_ckpt_compat._registry.registration import Registration
from tests.conftest import Printed, save
from tests.readers.test_remote import Handler, Server

Command = Callable[..., Printed]

#: No other plugin that has a word in what is printed.
_ALONE = ("-p", "no:sugar", "-p", "no:asyncio")


class Together:
    """Lets requests wait until as many are under way as can be, and counts them."""

    def __init__(self, number: int) -> None:
        self.barrier = threading.Barrier(number)
        self.lock = threading.Lock()
        self.now = self.peak = 0
        self.asked: Counter[tuple[str, str, str]] = Counter()

    def enter(self, request: tuple[str, str, str]) -> None:
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
            self.asked[request] += 1
            first = sum(self.asked.values()) <= self.barrier.parties
        if first:  # it opens once all of them are here; a run that asks one after the other breaks it
            self.barrier.wait(30)

    def leave(self) -> None:
        with self.lock:
            self.now -= 1


class Counting(Handler):
    together: ClassVar[Together]

    def answer(self, *, body: bool) -> None:
        self.together.enter((self.command, self.path, self.headers.get("Range", "")))
        try:
            super().answer(body=body)
        finally:
            self.together.leave()


Serve = Callable[[int], "tuple[Server, Together]"]


@pytest.fixture
def serve(pytester: pytest.Pytester) -> Iterator[Serve]:
    """Starts a server of the project's folder whose first answers wait for each other."""
    pytest.importorskip("fsspec", reason="reads URLs")
    pytest.importorskip("aiohttp", reason="reads URLs")
    started: list[ThreadingHTTPServer] = []

    def start(number: int) -> tuple[Server, Together]:
        state, together = Server(pytester.path), Together(number)
        handler = type("Bound", (Counting,), {"server_state": state, "together": together})
        listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        listening.daemon_threads = True
        listening.request_queue_size = 64
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        started.append(listening)
        state.url = f"http://127.0.0.1:{listening.server_address[1]}"
        return state, together

    yield start
    for each in started:
        each.shutdown()
        each.server_close()


def registered(project: pytest.Pytester, url: str, number: int, more: str = "") -> None:
    """Registers files of a server: ``net-0.pt`` and so on, with an id each."""
    tables = [
        f'\n[[tool.ckpt_compat.checkpoint]]\npath = "{url}/net-{each}.pt"\nid = "net-{each}"\n'
        f'model = "models:Net"\n{more}'
        for each in range(number)
    ]
    file = project.path / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8").partition("\n[[")[0] + "".join(tables), encoding="utf-8")


@pytest.fixture
def many(project: pytest.Pytester, serve: Serve) -> tuple[Server, Together]:
    """A project with twelve checkpoints on a server, each of two state_dicts."""
    server, together = serve(AT_ONCE)
    for number in range(12):
        save(project.path / f"net-{number}.pt", ema={"head.bias": torch.zeros(4)}, epoch=number)
    registered(project, server.url, 12)
    return server, together


def test_a_check_reads_some_at_once_and_each_header_once(
    many: tuple[Server, Together], command: Command
) -> None:
    printed = command("check")
    assert printed.out.count("CK901 net-") == 12, printed.out
    together = many[1]
    assert together.peak == AT_ONCE
    assert max(together.asked.values()) == 1, "no part of a file is asked for twice"
    paths = Counter(path for _, path, _ in together.asked)
    assert len(paths) == 12
    assert set(paths.values()) == {paths["/net-0.pt"]}, "and of each file as much as of another"


def test_pytest_reads_as_the_command_does(project: pytest.Pytester, many: tuple[Server, Together]) -> None:
    project.inline_run(*_ALONE, "--ckpt-update")
    together = many[1]
    assert together.peak == AT_ONCE
    assert max(together.asked.values()) == 1
    assert len({path for _, path, _ in together.asked}) == 12
    assert len(list((project.path / "ckpt_snapshots").glob("net-*.json"))) == 12


def test_the_errors_are_those_of_each_alone(
    project: pytest.Pytester, serve: Serve, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, together = serve(1)
    save(project.path / "net-0.pt")
    (project.path / "net-1.pt").write_bytes(b"PK\3\4 not a zip archive")
    save(project.path / "net-3.pt", classes=9)
    registered(project, server.url, 4)  # the third is absent
    printed = command("check")
    asked = together.asked.copy()
    monkeypatch.setattr(module, "AT_ONCE", 0)
    alone = command("check")
    assert printed.out == alone.out
    assert printed.code == alone.code == 1
    assert "net-2: there is no such file, or no access to it" in printed.out.replace(".pt", "")
    assert max(asked.values()) == 1, "not asked again for a file that is not there"


def test_two_checkpoints_of_one_file_fetch_it_once(
    project: pytest.Pytester, serve: Serve, command: Command
) -> None:
    server, together = serve(1)
    save(project.path / "net-0.pt")
    registered(project, server.url, 1)
    file = project.path / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + "\n[[" + text.partition("\n[[")[2].replace('"net-0"', '"again"'), encoding="utf-8")
    assert "net-0" in command("check").out
    assert max(together.asked.values()) == 1


def test_a_run_that_stops_reads_no_more(project: pytest.Pytester, serve: Serve) -> None:
    server, together = serve(1)
    for number in range(60):
        save(project.path / f"net-{number}.pt", classes=9)
    registered(project, server.url, 60)
    result = project.runpytest_inprocess(*_ALONE, "-x")
    result.assert_outcomes(failed=1)
    assert len({path for _, path, _ in together.asked}) < 60, "it never reads further than there is room"


# ---- the threads alone


def addresses(number: int) -> list[Registration]:
    return [
        Registration(str(each), Path(), str(each), None, address=f"s3://b/{each}") for each in range(number)
    ]


def test_no_more_is_kept_than_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROOM", 3)
    known = addresses(10)
    done: list[str] = []
    arrived = threading.Semaphore(0)

    def read(registration: Registration) -> None:
        done.append(registration.id)
        arrived.release()

    ahead = Ahead(known, read)
    for _ in range(3):
        assert arrived.acquire(timeout=30)
    assert sorted(done) == ["0", "1", "2"]
    with ahead.reading(known[0]):
        pass
    assert arrived.acquire(timeout=30)
    assert sorted(done) == ["0", "1", "2", "3"]
    with ahead.reading(known[9]):  # out of order: read by the check itself, and by no thread
        pass
    ahead.close()
    assert "9" not in done


def test_a_thread_that_fails_holds_nobody_up() -> None:
    known = addresses(20)

    def read(registration: Registration) -> None:
        raise ValueError(registration.id)

    ahead = Ahead(known, read)
    for each in known:
        with ahead.reading(each):
            pass
    ahead.close()


def test_files_of_this_machine_and_one_address_need_no_thread() -> None:
    before = threading.active_count()
    local = Registration("a", Path("a.pt"), "a.pt", None)
    ahead = Ahead([local, *addresses(1)], lambda each: pytest.fail("read by a thread"))
    assert threading.active_count() == before
    for each in (local, addresses(1)[0]):
        with ahead.reading(each):
            pass
    ahead.close()
