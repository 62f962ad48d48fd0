"""Imports what is slow to import, then forks for every process that a client asks for."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
import warnings
from typing import Any

#: Above every number that an open file of a client has.
_HIGH = 512


def serve(address: str) -> dict[str, Any]:
    """Returns in each fork, with what it is to run; the server itself ends with its input."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        signal.signal(signal.SIGCHLD, lambda *_: _reap())
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if listener not in ready:
                sys.exit()
            connection, _ = listener.accept()
            if not os.fork():
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return _attended(connection)


def _reap() -> None:
    """Collects the forks that have ended, and with them the time that they took."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _attended(connection: socket.socket) -> dict[str, Any]:
    """Forks once more: one runs, the other reports its end to the client, and ends it if the client dies."""
    _, received, _, _ = socket.recv_fds(connection, 1, 253)
    request: dict[str, Any] = json.loads(connection.makefile().readline())
    process = os.fork()
    if not process:
        connection.close()
        request["files"] = dict(zip(request["files"], received, strict=True))
        return request
    os.closerange(0, 3)
    for number in received:
        os.close(number)

    def watch() -> None:
        if not connection.recv(1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


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


if __name__ == "__main__":
    import pytest  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch._dynamo
    import torch.utils.serialization.config  # noqa: F401

    importlib.import_module("inner_runs").shorten()
    del sys.modules["inner_runs"]  # code that is asked in a fork has imported nothing of this project
    set_aside = importlib.import_module("set_aside").set_aside
    del sys.modules["set_aside"]
    del sys.path[0]  # the folder of this file
    set_aside("pytest_ckpt_compat")
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
