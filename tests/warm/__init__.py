"""A Python that starts at once, for tests that start processes.

A process that imports torch is busy for seconds before it does anything. ``interpreter()`` gives a
stand-in for ``sys.executable``: whatever is started with it runs in a fork of a server that has imported
torch, scipy and pytest, and nothing of this project, whose modules have run and wait for their import; also
other libraries where they are asked for.
Arguments, folder, environment, open files and exit code are the caller's, and an end that is killed takes
the other with it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).parent


@contextlib.contextmanager
def interpreter(*libraries: str) -> Iterator[str]:
    """The path of a command that is called as Python is, for as long as the context lasts.

    It is Python itself where the system is not Linux: elsewhere a fork may not do as much.

    Args:
        libraries: more modules that are imported before the first process starts, where they are installed.
    """
    if sys.platform != "linux":
        yield sys.executable
        return
    with tempfile.TemporaryDirectory() as name:
        address, command = Path(name) / "socket", Path(name) / "python"
        words = [sys.executable, "-IS", str(_HERE / "client.py"), str(address), str(command), sys.executable]
        command.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        command.chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, str(_HERE / "server.py"), str(address), *libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            | {"OPENBLAS_NUM_THREADS": "1"},  # a process with threads should not fork
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield str(command)
        finally:
            server.communicate()  # it ends with its input
