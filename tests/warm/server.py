"""Imports what is slow to import, then forks for every process that a client asks for."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import io
import marshal
import os
import runpy
import select
import signal
import socket
import sys
import types
import warnings
from typing import Any

#: Above every number that an open file of a client has.
_HIGH = 512


class _Watched:
    """The forks that run, each with the connection on which its client waits for its end."""

    def __init__(self) -> None:
        self.forks: dict[socket.socket, int] = {}

    def collect(self) -> None:
        """Tells clients how their forks have ended; the time that those took is the server's from here on."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for connection in [each for each, process in self.forks.items() if process == ended[0]]:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended[1]))
                    self._forget(connection)

    def end(self, connection: socket.socket) -> None:
        """Ends a fork whose client has ended, if it runs."""
        if connection in self.forks:
            os.kill(self.forks[connection], signal.SIGKILL)
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        del self.forks[connection]
        connection.close()


def serve(address: str) -> dict[str, Any]:
    """Returns in each fork, with what it is to run; the server itself ends with its input."""
    watched = _Watched()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listener, sys.stdin, woken, *watched.forks], [], [])
            if sys.stdin in ready:
                os._exit(0)  # to take apart what is imported would take a while
            if woken in ready:
                os.read(woken, 1 << 16)
                watched.collect()
            for connection in watched.forks.keys() & set(ready):
                watched.end(connection)
            if listener in ready and (request := _forked(listener, watched)):
                break
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (woken, wake):
        os.close(number)
    return request


def _forked(listener: socket.socket, watched: _Watched) -> dict[str, Any] | None:
    """Forks for a client. Returns what it asks for in the fork, and None in the server."""
    connection, _ = listener.accept()
    request = _received(connection)
    if request is None:
        connection.close()
        return None
    process = os.fork()
    if not process:
        for each in (connection, *watched.forks):
            each.close()
        return request
    for number in request["files"].values():
        os.close(number)
    watched.forks[connection] = process
    return None


def _received(connection: socket.socket) -> dict[str, Any] | None:
    """What a client asks for, whose files are open here by then; None if it has ended meanwhile."""
    data, received, _, _ = socket.recv_fds(connection, 1 << 16, 253)
    size, start = int.from_bytes(data[:4], "big"), data[4:]
    while len(start) < size and (more := connection.recv(size - len(start))):
        start += more
    if not start or len(start) < size:
        for number in received:
            os.close(number)
        return None
    request: dict[str, Any] = marshal.loads(start)  # of our own client, of the same Python
    request["files"] = dict(zip(request["files"], received, strict=True))
    return request


def become(request: dict[str, Any]) -> None:
    """Takes over the client's files, folder, environment and arguments."""
    high = {target: fcntl.fcntl(number, fcntl.F_DUPFD, _HIGH) for target, number in request["files"].items()}
    for number in request["files"].values():
        os.close(number)
    for target, number in high.items():
        os.dup2(number, target)
        os.close(number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.executable = request["executable"]
    if request["quiet"]:
        sys.warnoptions.append("ignore")
        warnings.simplefilter("ignore")
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    if encoding:  # a stream changes its own only where it stands in what the server was given
        fresh = functools.partial(open, encoding=encoding, closefd=False)
        sys.stdin = fresh(0, errors=errors or None)
        sys.stdout = fresh(1, "w", errors=errors or None)
        sys.stderr = fresh(2, "w", buffering=1, errors="backslashreplace")
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(write_through=request["unbuffered"])
    first = "" if request["kind"] == "-c" else request["folder"]
    more = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [first, *more]


def run(kind: str, what: str, argv: list[str]) -> None:
    """Runs the code of ``-c``, or the module of ``-m``, as the main one."""
    sys.argv = [kind, *argv]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), main.__dict__)


def _leave(status: list[int]) -> None:
    """Ends the process: to take apart all that the server has imported costs more than most runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status[0])


def prepare() -> None:
    """Imports what every process of the tests does."""
    import pytest  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch._dynamo
    import torch.utils.serialization.config  # noqa: F401
    from _pytest.config import default_plugins

    for name in default_plugins:
        importlib.import_module(f"_pytest.{name}")

    importlib.import_module("inner_runs").shorten()
    del sys.modules["inner_runs"]  # code that is asked in a fork has imported nothing of this project
    set_aside = importlib.import_module("set_aside").set_aside
    del sys.modules["set_aside"]
    aside = set_aside("pytest_ckpt_compat")
    for _ in aside["pytest_ckpt_compat._premerge.own_code"].outside(os.sep):
        pass  # where each module lies is known from here on


if __name__ == "__main__":
    if "torch" not in sys.modules:  # else this is a fork of another server
        prepare()
    del sys.path[:2]  # the folder it was started in, and that of this file
    for name in sys.argv[2:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads should not fork"
    gc.freeze()
    asked = serve(sys.argv[1])
    become(asked)
    status = [1]
    atexit.register(_leave, status)  # what is registered first is called last
    try:
        run(asked["kind"], asked["argv"][0], asked["argv"][1:])
        status[0] = 0
    except SystemExit as end:
        status[0] = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
