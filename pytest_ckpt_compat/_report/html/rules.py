"""The pages of the rules that a page names, as plain data: a link needs no address outside of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_ckpt_compat._core import pages
from pytest_ckpt_compat._core.links import rule_url
from pytest_ckpt_compat._core.rules import BY_ID
from pytest_ckpt_compat._report.summary import Entry

_INLINE = re.compile(r"`([^`]+)`|\*(\w[^*]*)\*")


def named(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """A page for each rule that some entry names, by id."""
    found = {each["rule"] for entry in entries for each in entry.findings}
    return [_page(identifier) for identifier in sorted(found & BY_ID.keys())]


def _page(identifier: str) -> dict[str, Any]:
    rule = BY_ID[identifier]
    return {
        "id": rule.id,
        "kind": rule.kind.replace("-", " "),
        "meaning": list(_inline(rule.meaning)),
        "severity": pages.severity(rule),
        "url": rule_url(rule.id),
        "parts": [
            {"title": title, "blocks": [_block(each) for each in blocks]}
            for title, blocks in pages.parts(rule)
        ],
    }


def _block(block: pages.Block) -> dict[str, Any]:
    code = block.kind == "code"
    return {"kind": block.kind, "words": [("code", block.text)] if code else list(_inline(block.text))}


def _inline(text: str) -> Iterator[tuple[str, str]]:
    """(``text``, ``code`` or ``stressed``, words) of a paragraph."""
    place = 0
    for found in _INLINE.finditer(text):
        yield "text", text[place : found.start()]
        yield ("code", found[1]) if found[1] is not None else ("stressed", found[2])
        place = found.end()
    yield "text", text[place:]
