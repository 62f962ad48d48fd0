"""The Python that starts at once does what Python does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import warm

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


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1:replace"])
def test_it_encodes_as_python_does(
    tmp_path: Path, warm_python: str, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    streams = "(sys.stdin, sys.stdout, sys.stderr)"
    code = f"import codecs, sys; print([(codecs.lookup(s.encoding).name, s.errors) for s in {streams}])"
    shown = end_of(PYTHON, tmp_path, "-c", code)
    assert end_of(warm_python, tmp_path, "-c", code) == shown
    code = "import sys; print('torch' in sys.modules)"
    assert end_of(warm_python, tmp_path, "-c", code)[1] == f"{sys.platform == 'linux'}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="it is Python itself elsewhere")
def test_it_has_imported_torch_and_nothing_of_this_project(tmp_path: Path, warm_python: str) -> None:
    code = "import sys; print([name in sys.modules for name in ('torch', 'pytest_ckpt_compat', 'tests')])"
    assert end_of(warm_python, tmp_path, "-c", code) == (0, "[True, False, False]\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="it is Python itself elsewhere")
def test_workers_share_a_server_that_ends_with_the_run(tmp_path: Path, warm_python: str) -> None:
    code = "import os; print(os.getppid())"
    with warm.place() as run:
        pythons = [warm.started(run, "python", python=warm_python) for _ in range(2)]
        (server,) = {end_of(python, tmp_path, "-c", code)[1].strip() for python in pythons}
        imported = end_of(pythons[0], tmp_path, "-c", "import sys; print('torch' in sys.modules)")
        assert imported[1] == "True\n"
        assert Path("/proc", server).exists()
    deadline = time.monotonic() + 60
    while Path("/proc", server).exists():
        assert time.monotonic() < deadline, "the server runs on"
        time.sleep(0.01)


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


@pytest.mark.skipif(sys.platform != "linux", reason="it is Python itself elsewhere")
@pytest.mark.parametrize(
    "code",
    [
        "import pytest_ckpt_compat",
        "import pytest_ckpt_compat; pytest_ckpt_compat.read",
        "import pytest_ckpt_compat._core.rules",
        "from pytest_ckpt_compat._renames import infer",
        "from pytest_ckpt_compat._check import check",
        "from pytest_ckpt_compat._report.html.section import section",
        "import pytest_ckpt_compat._cli.main",
        "import pytest_ckpt_compat._pytest_plugin.hooks",
        "import pytest_ckpt_compat._pytest_plugin.merge_base_worker",
    ],
)
def test_an_import_of_this_project_brings_what_it_does_in_python(
    tmp_path: Path, warm_python: str, code: str
) -> None:
    """The modules, where they come from and what they show as attributes."""
    shown = (
        "import sys, types; own = sorted(name for name in sys.modules if name.startswith('pytest_ckpt'));"
        "[print(name, m.__file__, m.__loader__.name, m.__spec__.name, type(m.__spec__.loader).__name__,"
        " sorted(k for k, v in vars(m).items() if isinstance(v, types.ModuleType)))"
        " for name in own for m in [sys.modules[name]]]"
    )
    found = end_of(warm_python, tmp_path, "-c", f"{code}\n{shown}")
    assert found == end_of(PYTHON, tmp_path, "-c", f"{code}\n{shown}")
    assert "pytest_ckpt_compat" in found[1]


@pytest.mark.skipif(sys.platform != "linux", reason="it is Python itself elsewhere")
def test_a_package_of_this_name_elsewhere_is_imported_from_there(tmp_path: Path, warm_python: str) -> None:
    other = tmp_path / "library" / "pytest_ckpt_compat"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "_core.py").write_text("print('another')\n")
    assert end_of(warm_python, tmp_path, "-c", "import pytest_ckpt_compat._core") == (0, "another\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="it is Python itself elsewhere")
def test_processes_run_beside_each_other_and_one_that_asks_nothing_stops_none(warm_python: str) -> None:
    address = Path(warm_python).with_name("socket")
    for sent in (b"", b"\0\0\0\5abc"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(address))
            connection.sendall(sent)
    code = "import sys; sys.exit(int(sys.stdin.read()))"
    processes = [subprocess.Popen([warm_python, "-c", code], stdin=subprocess.PIPE) for _ in range(5)]
    for number, process in reversed(list(enumerate(processes))):
        process.communicate(b"%d" % number)
        assert process.returncode == number


@pytest.mark.skipif(sys.platform != "linux", reason="it is Python itself elsewhere")
def test_a_run_of_pytest_does_not_read_this_project_anew(pytester: pytest.Pytester, warm_python: str) -> None:
    """A run reads the modules of its plugins by itself, which was most of a short one."""
    pytester.makepyfile(
        """
        import sys
        from importlib.machinery import SourceFileLoader

        def test_it():
            import pytest_ckpt_compat._check.run

            found = [each for name, each in sys.modules.items() if name.startswith("pytest_ckpt_compat")]
            assert len(found) > 50
            assert {type(each.__spec__.loader) for each in found} == {SourceFileLoader}
        """
    )
    done = pytester.run(warm_python, "-m", "pytest", "-p", "no:hypothesispytest", "-p", "no:randomly")
    done.assert_outcomes(passed=1)
