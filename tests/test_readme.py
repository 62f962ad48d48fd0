"""The README tells the truth: its commands are those of CI, its first screen is short, its claims hold."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_readmes_commands() -> None:
    commands = re.search(r"```sh\n(.*)\n(.*)\n```", README)
    assert commands
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands[1] in lines
    assert commands[2] in lines


def test_the_first_screen_has_the_two_commands_and_the_diff() -> None:
    first = README.split("## Use it")[0]
    assert first.count("\n") < 45
    assert first.count("python3 -m venv") == 2
    assert "<!-- tests/golden/rename_block.txt -->" in first


def test_the_versions_are_those_of_the_package() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    shown = re.search(r"^Python (.*)\+ · PyTorch (.*)\+ · pytest (.*)\+ · MIT licence$", README, re.MULTILINE)
    assert shown
    assert f'requires-python = ">={shown[1]}"' in pyproject
    assert f'"torch>={shown[2]}"' in pyproject
    assert re.search(rf'"pytest>={shown[3]}\b', pyproject)
    assert 'license = "MIT"' in pyproject
