"""A Python that starts at once, for tests that start processes.

A process that imports torch is busy for seconds before it does anything. ``started()`` gives a
stand-in for ``sys.executable``: whatever is started with it runs in a fork of a server that has imported
torch, scipy and pytest, and nothing of this project, whose modules have run and wait for their import; also
other libraries where they are asked for.
Arguments, folder, environment, open files and exit code are the caller's, and an end that is killed takes
the other with it.
All workers of a run share a server: the first that needs it starts it, and it ends with the run.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).parent


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder for the servers of a run, which end with the context, or with this process."""
    with tempfile.TemporaryDirectory() as name:
        alive = Path(name) / "alive"
        os.mkfifo(alive)
        reading = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is opened for writing when it is read
        writing = os.open(alive, os.O_WRONLY)
        os.close(reading)
        try:
            yield Path(name)
        finally:
            os.close(writing)


def started(run: Path, name: str, *libraries: str, python: str = sys.executable) -> str:
    """The path of a command that is called as Python is, for as long as the run lasts.

    Args:
        run: what ``place()`` has given.
        name: that of the server, which is started where nobody has.
        libraries: more modules that are imported before the first process starts, where they are installed.
        python: runs the server: Python itself, or such a command, whose server has most of it imported.
    """
    import fcntl  # which some systems lack

    folder = run / name
    folder.mkdir(exist_ok=True)
    address, command = folder / "socket", folder / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not command.exists():
            _start(run, [python, "-m", "server", str(address), *libraries])
            words = [
                sys.executable,
                "-IS",
                str(_HERE / "client.py"),
                str(address),
                str(command),
                sys.executable,
            ]
            command.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            command.chmod(0o755)
    return str(command)


def _start(run: Path, argv: list[str]) -> None:
    """Starts a server, and returns when it listens. Nobody waits for its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = kept | {
        "OPENBLAS_NUM_THREADS": "1",  # a process with threads should not fork
        "PYTHONPATH": str(_HERE),
    }
    alive = os.open(run / "alive", os.O_RDONLY)
    ready, write = os.pipe()
    process = os.posix_spawn(
        argv[0],
        argv,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, alive, 0), (os.POSIX_SPAWN_DUP2, write, 1)],
    )
    os.close(alive)
    os.close(write)
    with open(ready, "rb") as stream:
        assert stream.readline() == b"ready\n", f"process {process} has not started"
