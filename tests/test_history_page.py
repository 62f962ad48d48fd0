"""The page about a past without files: its commands exist, and its script's parts work without a network."""

from __future__ import annotations

import re
import shlex
import subprocess
import zipfile
from datetime import date
from pathlib import Path

import pytest

from pytest_ckpt_compat._cli.main import parser
from pytest_ckpt_compat._cli.models import model_of
from tests.test_docs import ROOT, load

MAKE = load("make_history")
PAGE = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_are_those_of_the_script_and_are_understood() -> None:
    shown = re.findall(r"^\$ (ckpt-compat .*)$", PAGE, re.MULTILINE)
    assert [line.partition(" --bisect")[0] for line in shown] == [
        MAKE.shown(words).partition(" --bisect")[0] for words in MAKE.COMMANDS.values()
    ]
    for line in shown:
        words = shlex.split(line.replace('"$KWARGS"', shlex.quote(MAKE.KWARGS)))
        parser().parse_args(words[1:])
    assert f"KWARGS='{MAKE.KWARGS}'" in PAGE
    assert model_of(MAKE.MODEL, MAKE.KWARGS).kwargs["dim"] == 64


def test_the_page_says_when_and_with_what_it_was_made() -> None:
    assert re.search(r"^Made on \d{4}-\d\d-\d\d with Python [\d.]+, torch [\w.+]+, ", PAGE, re.MULTILINE)
    assert MAKE.facts({"Python": "3.11", "torch": "2"}, date(2026, 1, 2)) == (
        "Made on 2026-01-02 with Python 3.11, torch 2."
    )
    for release in (*MAKE.RELEASES[:1], *MAKE.RELEASES[-1:]):
        assert f"Release {release}" in PAGE


def test_blocks_are_put_in_their_places() -> None:
    text = "a\n<!-- one -->\nold\n<!-- end of one -->\n<!-- two -->\nkept\n<!-- end of two -->\n"
    new = MAKE.page(text, {"one": MAKE.block(["check"], "OK\n\n")})
    block = "<!-- one -->\n```console\n$ ckpt-compat check\nOK\n```\n<!-- end of one -->"
    assert new == f"a\n{block}\n<!-- two -->\nkept\n<!-- end of two -->\n"
    assert MAKE.page(new, {}) == new


@pytest.mark.long
def test_releases_become_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    for version, module in (("1.0", "old"), ("1.1", "new")):
        wheel = tmp_path / f"{version}.whl"
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr(zipfile.ZipInfo(f"pkg/{module}.py", (2020, 1, 2, 3, 4, 6)), "x = 1\n")
            file.writestr("pkg-1.dist-info/METADATA", "Name: pkg\n")
        day = MAKE.unpacked(wheel, repository)
        assert day == "2020-01-02"
        MAKE.commit(repository, version, day)
    assert [path.name for path in repository.rglob("*.py")] == ["new.py"]
    log = subprocess.run(
        ["git", "log", "--format=%cs %s %D"], cwd=repository, capture_output=True, text=True, check=True
    )
    assert [line.split(" (")[0].split()[:3] for line in log.stdout.splitlines()] == [
        ["2020-01-02", "Release", "1.1"],
        ["2020-01-02", "Release", "1.0"],
    ]
