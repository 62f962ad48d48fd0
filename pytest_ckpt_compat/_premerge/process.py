"""A process that runs the code of an earlier commit and answers questions through its pipes."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

#: Seconds after which an answer counts as failed.
_SECONDS = 600
#: Seconds between two looks whether the process still lives: a child of its own may hold the pipe open.
_LOOK = 1
#: Seconds that the process has to end by itself once its input has ended.
_PATIENCE = 5


class Process:
    """A process in an extracted tree; each question and each answer is a line of JSON.

    Attributes:
        paths: the folders of the tree in which it looks for modules, relative to the tree.
    """

    def __init__(self, tree: Path, prefix: str, paths: list[str], serve: Callable[..., None]) -> None:
        """Starts the process.

        Args:
            tree: the extracted tree.
            prefix: the project's folder in it, the working directory of the process.
            paths: the folders in which it looks for modules, relative to the tree.
            serve: a function of an importable module, to be run there with the tree, the paths as JSON
                and a folder for temporary files; it answers what comes in on its standard input.
        """
        self.paths = paths
        self._folder = tempfile.TemporaryDirectory()
        self._failed: dict[str, Any] | None = None
        self._asked = 0
        self._errors = (Path(self._folder.name) / "stderr").open("wb")
        package = str(Path(__file__).parents[2])
        code = f"import sys; sys.path.append({package!r})\n"
        code += f"from {serve.__module__} import {serve.__name__} as serve; serve(*sys.argv[1:])"
        folder = tree / prefix
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", code, str(tree), json.dumps(paths), self._folder.name],
            cwd=folder if folder.is_dir() else tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._reader = threading.Thread(target=_read, args=(self._process.stdout, self._answers), daemon=True)
        self._reader.start()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Waits for the answer; it is ``{"error": ...}`` where there is none."""
        if self._failed is not None:
            return self._failed
        self._asked += 1
        with contextlib.suppress(OSError):  # the process has ended, which is noticed below
            self._send(json.dumps({"number": self._asked, **request}).encode() + b"\n")
        waited = 0
        while waited < _SECONDS:
            try:
                line = self._answers.get(timeout=_LOOK)
            except queue.Empty:
                waited += _LOOK
            else:
                if not line:
                    return self._ended()
                answer = _answer(line, self._asked)
                if answer is not None:
                    return answer
            if self._process.poll() is not None and self._answers.empty():
                return self._ended()
        self._process.kill()
        return self._fail(f"it took more than {_SECONDS} seconds")

    @property
    def failed(self) -> bool:
        """Whether it has ended, or was ended since an answer took too long: it answers nothing more."""
        return self._failed is not None

    def close(self) -> None:
        """Ends the process and removes its files."""
        try:
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=_PATIENCE)
        self._errors.close()
        self._folder.cleanup()

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def _ended(self) -> dict[str, Any]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_PATIENCE)
        lines = (Path(self._folder.name) / "stderr").read_text(errors="replace").strip().splitlines()
        reason = f": {lines[-1]}" if lines else ""
        code = self._process.poll()
        ended = "its process closed its output" if code is None else f"its process ended with {code}"
        return self._fail(f"{ended}{reason}")

    def _fail(self, problem: str) -> dict[str, Any]:
        self._failed = {"error": problem}
        return self._failed


def _answer(line: bytes, number: int) -> dict[str, Any] | None:
    """The answer to a question, or None for any other line: whatever starts with Python may print."""
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) and data.pop("number", None) == number else None


def _read(stream: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    """Hands on line after line, and an empty one at the end."""
    with stream:
        for line in stream:
            answers.put(line)
    answers.put(b"")
