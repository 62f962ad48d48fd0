"""The way of a pull request, on a real repository: red with both, with one, green, merged, green."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

MAKE = Path(__file__).parent.parent / "docs" / "make_walkthrough.py"


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="the page is written in a POSIX shell's language")
@pytest.mark.usefixtures("warm_python")
def test_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(MAKE.parent.parent))
    module = runpy.run_path(str(MAKE))
    steps = list(module["walk"](tmp_path / "project"))
    for step in steps:
        assert step.code == step.expected, f"{step.command}\n{step.output}"
    both, one, green, later, retired, reviewed, cleaned = (
        step.output for step in steps if "compat check" in step.command
    )
    assert "CK103 shapes-v2" in both
    assert "! head.weight" in both
    assert "CK103 shapes-v2" in one
    assert "= head.weight" in one
    assert "accepted: version 3 knows six shapes" in one
    for output in (green, later):
        assert "breaks introduced" not in output
        assert "compared  2 checkpoints, 88 tensors, with main" in output
    assert "CK901 shapes-v1: accepted" in retired
    assert "CK202 shapes-v2: accepted, head resized (version 4 knows eight shapes)" in reviewed
    assert "CK901" not in cleaned
    assert "CK903" not in cleaned
    text = module["page"](steps)
    assert text == module["PAGE"].read_text(encoding="utf-8"), "run python docs/make_walkthrough.py"
