"""``.ci/run`` fails where any part of it fails; its commands stand in for themselves here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repository import git

SCRIPT = Path(__file__).parent.parent / ".ci" / "run"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the script is one of bash")

#: Does nothing, but fails where it is asked to.
_COMMAND = """#!/bin/sh
case "$(basename "$0") $*" in *"$FAILS"*) exit 1 ;; esac
"""
#: Installs some of them after the project itself.
_PIP = f"""{_COMMAND}
cp "$(dirname "$0")/python" .venv/bin/ckpt-compat
sleep 0.3
for name in mypy ruff sphinx-build; do cp "$(dirname "$0")/python" ".venv/bin/$name"; done
echo "Successfully installed mypy pytest-ckpt-compat ruff" >> "${{PIP_LOG:-/dev/null}}"
"""
#: Makes a virtual environment.
_PYTHON = f"""{_COMMAND}
mkdir -p .venv/bin
cp "$(dirname "$0")/apt-get" .venv/bin/python
cp "$(dirname "$0")/pip" .venv/bin/pip
"""


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("nothing", None),
        ("apt-get", None),  # where no other browser is, tests are skipped
        ("venv", ""),
        (".[test]", ""),
        ("-m pytest", ""),
        ("constraints.txt .", "example"),
        (".[docs,plugins]", "example"),
        ("example_project", "example"),
        ("mypy", "types"),
        ("ruff check", "lint"),
        ("ruff format", "format"),
        ("sphinx-build", "site"),
        ("test_other_plugins.py", "plugins"),
        ("test_workers.py", "split"),
        ("renice", "example types lint format"),  # what has not begun has not passed
    ],
)
def test_a_part_that_fails_fails_all(tmp_path: Path, fails: str, said: str | None) -> None:
    repository, commands = tmp_path / "repository", tmp_path / "commands"
    (repository / ".ci").mkdir(parents=True)
    shutil.copy(SCRIPT, repository / ".ci")
    git(repository, "init", "-q")
    commands.mkdir()
    for name, text in (("python3", _PYTHON), ("pip", _PIP), ("apt-get", _COMMAND), ("renice", _COMMAND)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    (tmp_path / "temporary").mkdir()
    environment = {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(tmp_path / "temporary"),
        "FAILS": fails,
    }
    done = subprocess.run(
        [repository / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (said is None), done.stdout + done.stderr
    if said:
        assert done.stdout.splitlines()[-1] == f"FAILED: {said}"
    assert not list((tmp_path / "temporary").iterdir()), "it leaves nothing behind"
