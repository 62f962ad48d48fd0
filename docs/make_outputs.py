"""Writes the tables of ``outputs.md``: edits of a model with the rules that tell them, and refactors.

``python docs/make_outputs.py`` runs the model of ``tests/outputs_cases.py`` after each of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "outputs.md"
#: What every report of CK501 says, and by how much the outputs differ, which is not the same on all machines.
_ALL_SAY = "computes something else "
_SIZE = re.compile(r"; the output differs by [^;]*")


def page(edits: str, refactors: str) -> str:
    """The page with these tables."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (("edits", edits), ("refactors", refactors)):
        block = re.compile(rf"(<!-- {name} -->)\n.*?(<!-- end of {name} -->)", re.DOTALL)
        text = block.sub(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", text)  # type: ignore[misc]
    return text


def rows(head: tuple[str, ...], lines: Iterator[tuple[str, ...]]) -> str:
    """A table, Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *lines))


def tables() -> tuple[str, str]:
    """The two tables, each edit and refactor run."""
    from tests.outputs_cases import EDITS, REFACTORS, told

    def lines() -> Iterator[tuple[str, ...]]:
        for edit in EDITS:
            rules, words = told(edit)
            told_by = ("yes" if rule in rules else "no" for rule in ("CK502", "CK501"))
            yield edit.name, *told_by, _SIZE.sub("", words.removeprefix(_ALL_SAY))

    def others() -> Iterator[tuple[str, ...]]:
        for edit in REFACTORS:
            rules, _ = told(edit)
            yield edit.name, ", ".join(rules) or "nothing"

    edits = rows(("edit", "CK502, settings", "CK501, outputs", "it computes something else"), lines())
    return edits, rows(("refactor", "told"), others())


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    PAGE.write_text(page(*tables()), encoding="utf-8")
