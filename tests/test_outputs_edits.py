"""Which edits that load cleanly are told, by which rule; and refactors, of which none is (CK501, CK502)."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.outputs_cases import EDITS, REFACTORS, Edit, told

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name.replace(" ", "_"))
def test_an_edit_is_told_by_these_rules(edit: Edit) -> None:
    rules, words = told(edit)
    assert rules == edit.layers
    assert edit.where in words


@pytest.mark.parametrize("edit", REFACTORS, ids=lambda edit: edit.name.replace(" ", "_"))
def test_a_refactor_is_not_told(edit: Edit) -> None:
    assert told(edit) == ((), "")


def test_the_page_has_the_tables_that_the_script_makes() -> None:
    script = runpy.run_path(str(DOCS / "make_outputs.py"))
    text = (DOCS / "outputs.md").read_text(encoding="utf-8")
    assert script["page"](*script["tables"]()) == text, "run python docs/make_outputs.py"
