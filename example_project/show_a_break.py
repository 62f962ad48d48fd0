"""Shows a break: applies a refactor to a copy of this project and prints what pytest reports there.

``python show_a_break.py`` runs it alone; ``conftest.py`` runs it after the tests of this project pass.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent
#: In a copy outside of a repository.
APPLY = "git apply refactors/rename_block.patch"
IN_A_CLONE = "git apply --directory=example_project example_project/refactors/rename_block.patch"
PYTEST = 'pytest -qq -rN -k "shapes-v2 and not settings"'


def show() -> str:
    """The two commands and what pytest printed, or one line that tells why there is nothing to show."""
    if shutil.which("git") is None:
        return f"{PROJECT}: the break cannot be shown: git is not installed; install it, and run this again"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / PROJECT.name
        unwanted = shutil.ignore_patterns("conftest.py", "__pycache__", ".*")
        shutil.copytree(PROJECT, copy, ignore=unwanted)
        printed = _run(shlex.split(APPLY), copy) + _run([sys.executable, "-m", *shlex.split(PYTEST)], copy)
    head = "A refactor in a copy of this project. In a clone, run from its root:"
    return "\n".join([head, f"  {IN_A_CLONE}", "", f"$ {APPLY}", f"$ {PYTEST}", printed])


def _run(command: list[str], folder: Path) -> str:
    # git ignores files outside the repository it finds, so it must not find one above the copy.
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTEST_"))}
    environment = outside | {"GIT_CEILING_DIRECTORIES": str(folder.parent), "COLUMNS": "80"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.stdout.rstrip()


if __name__ == "__main__":
    print(show())
