"""The Python that starts at once does what Python does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = sys.executable
SHOWN = "import os, sys; print(sys.argv, os.getcwd(), os.environ['A'], sys.path[:2], sys.stdin.read())"


def end_of(python: str, folder: Path, *argv: str) -> tuple[int, str, str]:
    """Exit code, output, and the last line of complaint of a process."""
    environment = {**os.environ, "A": "a value", "PYTHONPATH": str(folder / "library")}
    done = subprocess.run(
        [python, *argv],
        cwd=folder,
        env=environment,
        input="given",
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.replace(python, "python").rpartition("\n")[0]


@pytest.mark.parametrize(
    "argv",
    [
        ["-c", SHOWN, "one", "two words"],
        ["-u", "-c", SHOWN],
        [
            "-W",
            "ignore",
            "-c",
            "import warnings; warnings.warn('a word'); print(__import__('sys').warnoptions)",
        ],
        ["-m", "shown", "one"],
        ["-mshown"],
        ["shown.py"],
        ["-c", "import sys; sys.exit(7)"],
        ["-c", "import sys; sys.exit('a word')"],
        ["-c", "import sys; sys.exit()"],
        ["-c", "import os; os.write(2, b'x'); os._exit(300)"],
        ["-c", "import atexit; atexit.register(print, 'at the end'); print('first')"],
        ["-c", "import threading; threading.Timer(0.1, print, ['at the end']).start()"],
        ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"],
        ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"],
    ],
)
def test_it_ends_as_python_does(tmp_path: Path, warm_python: str, argv: list[str]) -> None:
    (tmp_path / "shown.py").write_text(SHOWN)
    assert end_of(warm_python, tmp_path, *argv) == end_of(PYTHON, tmp_path, *argv)


@pytest.mark.skipif(sys.platform != "linux", reason="it is Python itself elsewhere")
def test_it_has_imported_torch_and_nothing_of_this_project(tmp_path: Path, warm_python: str) -> None:
    code = "import sys; print([name in sys.modules for name in ('torch', 'pytest_ckpt_compat', 'tests')])"
    assert end_of(warm_python, tmp_path, "-c", code) == (0, "[True, False, False]\n", "")


def test_files_that_are_handed_on(warm_python: str) -> None:
    read, write = os.pipe()
    subprocess.run(
        [warm_python, "-c", f"import os; os.write({write}, b'given')"], pass_fds=[write], check=True
    )
    os.close(write)
    with open(read, "rb") as stream:
        assert stream.read() == b"given"


def test_a_process_that_is_killed_runs_no_longer(warm_python: str) -> None:
    code = "import os; os.write(1, b'it runs\\n'); os.read(0, 1)"
    process = subprocess.Popen([warm_python, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"it runs\n"
    process.kill()
    assert process.stdout.read() == b"", "nobody has the other end open"
    process.communicate()
