"""Puts a table that a benchmark has measured into ``README.md``, between the two lines that name it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

README = Path(__file__).parent / "README.md"


def write(name: str, lines: Iterable[str], page: Path = README) -> None:
    """Replaces what stands between ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: the page does not have the two lines.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page}: no lines {begin.strip()} and {end.strip()}")
    page.write_text(before + begin + "\n" + "\n".join(lines) + "\n\n" + end + after, encoding="utf-8")
