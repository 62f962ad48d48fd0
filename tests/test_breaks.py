"""Breaks that people met: each folder in ``breaks/`` is one, and its report is read as by its person.

A folder holds ``models.py``, the definition ``Net`` and what was ``saved()``, or ``write(path)``, which
writes the file itself; its ``OPTIONS`` are those of the registration. ``needed.txt`` is what the person
needed to know, and ``report.txt`` what ``ckpt-compat check`` prints. Dropping a folder in adds a test; a
missing report is a failure that prints the text to read and to save.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_ckpt_compat._cli import main as cli
from tests.conftest import SETTINGS

FOLDERS = sorted(path for path in (Path(__file__).parent / "breaks").iterdir() if path.is_dir())


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with the checkpoint of a break, and its definition, registered."""
    shutil.copy(request.param / "models.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    options = {"id": "run", "path": "run.pt", "model": "models:Net", **_saved(tmp_path / "models.py")}
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    registered = "\n".join(["[[tool.ckpt_compat.checkpoint]]", *lines, ""])
    (tmp_path / "pyproject.toml").write_text(SETTINGS + registered, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("models", None)


def _saved(path: Path) -> dict[str, Any]:
    """Saves the checkpoint; returns the options of its registration."""
    names = runpy.run_path(str(path), run_name="models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is deprecated is what old files were saved with
        if "write" in names:
            names["write"]("run.pt")
        else:
            torch.save(names["saved"](), "run.pt")
    return names.get("OPTIONS", {})  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("folder", "source"),
    [(each, each) for each in FOLDERS],
    ids=[each.name for each in FOLDERS],
    indirect=["folder"],
)
def test_the_report_tells_what_its_person_needed_to_know(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["update"])
    capsys.readouterr()
    cli.main(["check"])
    text, _ = capsys.readouterr()
    approved = source / "report.txt"
    assert approved.exists(), f"read this, and save it as {approved}:\n{text}"
    assert text == approved.read_text(encoding="utf-8")
