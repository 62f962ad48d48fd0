"""Released versions of a package, each in a folder of its own; what is installed is not touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from pytest_ckpt_compat._core.addresses import redacted_in
from pytest_ckpt_compat._core.errors import BuildError, UsageError

_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9][\w.!+-]*)"
)
#: Settings of pip that contradict a folder of its own, whoever made them.
_NEUTRAL = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def pinned(text: str) -> tuple[str, str]:
    """Name and version of ``name==version``.

    Raises:
        UsageError: it is not of this form.
    """
    found = _PINNED.fullmatch(text)
    if found is None:
        problem = "is not a version of a package"
        raise UsageError(f"--package {text}", problem, "write it as name==1.0")
    return found["name"], found["version"]


def install(requirement: str, folder: Path) -> None:
    """Lets pip install a package alone into a folder, with the user's configuration and constraints.

    Its requirements are those that are installed here: so nothing large is fetched, and it runs with the
    torch that checks today's code.

    Raises:
        BuildError: pip is not there, or fails.
    """
    if PathFinder.find_spec("pip") is None:
        problem, advice = "pip is not installed in this environment", "run: python -m ensurepip"
        raise BuildError(f"--package {requirement}", problem, advice)
    options = ["--no-deps", "--no-input", "--no-compile", "--quiet", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, requirement]
    done = subprocess.run(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | _NEUTRAL,
        cwd=folder.parent,
        check=False,
    )
    if done.returncode:
        problem = redacted_in(f"pip cannot install it: {_complaint(done.stderr.decode(errors='replace'))}")
        advice = f"see: pip install --no-deps {requirement}"
        raise BuildError(f"--package {requirement}", problem, advice)


def _complaint(text: str) -> str:
    """What pip says is wrong: of its errors the last but for those that only sum up."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    telling = [
        line for line in errors if not line.startswith(("No matching distribution", "ResolutionImpossible"))
    ]
    return (*telling[-1:], *errors[-1:], *lines[-1:], "it says nothing")[0]
