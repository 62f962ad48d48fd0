"""The page on migrating: its walk is what the commands print, and its file of rules can be read."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from pytest_ckpt_compat._migrate.rules import applied
from pytest_ckpt_compat._migrate.steps import PARAMETERS
from pytest_ckpt_compat._migrate.toml_file import rules_in
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._registry.paths import SearchPath

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "migrating.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="the page is written in a POSIX shell's language")
@pytest.mark.usefixtures("warm_python")
def test_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent))
    module = runpy.run_path(str(DOCS / "make_migrating.py"))
    walking = module["walkthrough"]()
    steps = list(walking.walk(tmp_path / "project", module["SCRIPT"]))
    for step in steps:
        assert step.code == step.expected, f"{step.command}\n{step.output}"
    assert module["page"](list(walking.shown(steps))) == PAGE, "run python docs/make_migrating.py"


def test_the_file_of_rules_that_is_shown_means_what_the_page_says() -> None:
    (text,) = (block for block in BLOCKS if "ckpt_compat_rules" in block)
    keys = ["blocks.3.q.weight", "blocks.3.k.weight", "blocks.3.v.weight", "layers.4.norm", "head"]
    steps = applied(rules_in(text), keys)
    assert {step.new: step.old for step in steps} == {
        ("blocks.3.qkv.weight",): tuple(keys[:3]),
        ("blocks.5.norm",): ("layers.4.norm",),
        ("head",): ("head",),
    }


def test_the_registrations_that_are_shown_are_registrations(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "classifier_v1.pt").touch()
    shown = [block for block in BLOCKS if "[[tool.ckpt_compat.checkpoint]]" in block]
    (tmp_path / "ckpt_compat.toml").write_text("\n".join(shown))
    search = SearchPath((tmp_path,), tmp_path, lambda: iter(()))
    one, several = project_file.registrations(project_file.read(tmp_path), search)
    assert (one.problem, several.problem) == (None, None)
    assert [link.by for link in one.migrate] == ["example.old_files:migrate"]
    assert [link.to for link in several.migrate] == ["2", "3"]
    assert several.version == "meta.version"


def test_every_table_of_a_file_of_rules_is_explained() -> None:
    for name in PARAMETERS:
        assert name == "move" or f"`{name}`" in PAGE.partition("## Files of rules")[2]
