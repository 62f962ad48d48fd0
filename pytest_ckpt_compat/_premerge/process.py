"""A process that works on the code of an earlier commit, and is asked by files."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Seconds after which an answer is no longer waited for.
_SECONDS = 600
#: Seconds in which it may come to an end by itself.
_PATIENCE = 5
#: Seconds between two looks for an answer.
_PAUSE = 0.005


class Process:
    """``at_base`` at work in an extracted tree.

    Attributes:
        paths: the folders of the tree in which it looks for modules, relative to it.
    """

    def __init__(self, tree: Path, prefix: str, paths: list[str]) -> None:
        self.paths = paths
        self._folder = tempfile.TemporaryDirectory()
        self._asked = 0
        self._failed: dict[str, Any] | None = None
        self._complaints = (Path(self._folder.name) / "stderr").open("wb")
        package = str(Path(__file__).parents[2])
        code = f"import sys; sys.path.append({package!r})\n"
        code += "from pytest_ckpt_compat._pytest_plugin.worker import main; main(*sys.argv[1:])"
        place = tree / prefix
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", code, str(tree), json.dumps(paths)],
            cwd=place if place.is_dir() else tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, or ``{"error": ...}`` where there is none."""
        if self._failed is not None:
            return self._failed
        self._asked += 1
        question = Path(self._folder.name) / f"{self._asked}.json"
        answer = question.with_suffix(".answer")
        question.write_text(json.dumps(request), encoding="utf-8")
        with contextlib.suppress(OSError):  # it has ended: that is seen below
            self._tell(f"{question}\n")
        until = time.monotonic() + _SECONDS
        while not answer.exists() and self._process.poll() is None:
            if time.monotonic() > until:
                self._process.kill()
                return self._fail(f"it took more than {_SECONDS} seconds")
            time.sleep(_PAUSE)
        if answer.exists():
            return dict(json.loads(answer.read_text(encoding="utf-8")))
        lines = (Path(self._folder.name) / "stderr").read_text(errors="replace").strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        return self._fail(f"its process ended with {self._process.poll()}{said}")

    def close(self) -> None:
        """Ends the process and removes its files."""
        try:
            self._process.communicate(timeout=_PATIENCE)  # the end of its input is the end of its work
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._complaints.close()
        self._folder.cleanup()

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def _fail(self, problem: str) -> dict[str, Any]:
        self._failed = {"error": problem}
        return self._failed
