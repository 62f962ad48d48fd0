"""A rule's page: in Markdown for the site and for tools, as text for a terminal, and in parts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.links import documentation, rule_url
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.severities import words_for

#: The widest line of a page on a terminal.
WIDTH = 100
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_FENCE = "```"


@dataclass(frozen=True)
class Block:
    """A piece of a page.

    Attributes:
        kind: a paragraph of text, an item of a list, or lines of code.
        text: its words, in one line, with code between backticks; or the lines of code.
    """

    kind: Literal["text", "item", "code"]
    text: str


def severity(rule: Rule) -> str:
    """``error (strict=False: warning)``: a rule's severity in words."""
    lenient = f" (strict=False: {rule.lenient.value})" if rule.lenient else ""
    return rule.severity.value + lenient


def markdown(rule: Rule) -> str:
    """The page without its heading; links lead to other pages of the site."""
    found = []
    for title, body in _sections(rule):
        found.append(f"**{title}.** {body}" if title and not body.startswith(_FENCE) else body)
        if title and body.startswith(_FENCE):
            found[-1] = f"**{title}.**\n\n{body}"
    return "\n\n".join(found)


def standalone(rule: Rule) -> str:
    """The page for readers outside of the site: its links are whole addresses, or none."""
    base = documentation()

    def whole(match: re.Match[str]) -> str:
        target = match[2] if not match[2].startswith("#") else f"rules.md{match[2]}"
        return f"[{match[1]}]({base}{target.replace('.md', '.html', 1)})" if base else match[1]

    return _LINK.sub(whole, markdown(rule))


def text(rule: Rule, width: int = WIDTH) -> str:
    """The page for a terminal.

    Args:
        rule: whose page.
        width: of the terminal, in columns.
    """
    lines = [f"{rule.id} {rule.kind}: {rule.meaning}", f"severity: {severity(rule)}"]
    for title, blocks in parts(rule):
        shown = "\n".join(_shown(blocks, max(min(width, WIDTH), 40)))
        lines += ["", title or "What it tells", shown]
    address = rule_url(rule.id)
    return "\n".join([*lines, *(["", address] if address else [])])


def _sections(rule: Rule) -> Iterator[tuple[str, str]]:
    """Title and Markdown of each part; the first has no title."""
    yield "", rule.what
    yield "Why it matters", rule.why
    yield "Example", f"{_FENCE}\n{rule.example}\n{_FENCE}"
    yield "How to mend it", rule.mend
    yield "How to accept it", rule.accept or _acceptance(rule)


def parts(rule: Rule) -> Iterator[tuple[str, list[Block]]]:
    """Title and blocks of each part of the page, for a form of its own; the first has no title."""
    for title, body in _sections(rule):
        yield title, list(_blocks(body))


def _acceptance(rule: Rule) -> str:
    keys = "" if rule.keyless else ' --key "KEYS"'
    command = f'{_FENCE}sh\nckpt-compat accept ID --rule {rule.id}{keys} --reason "..."\n{_FENCE}'
    if rule.severity is Severity.WARNING:
        first = "It does not fail. To be told no longer, accept it for one checkpoint, with the reason:"
    else:
        first = "Accept it for one checkpoint, with the reason:"
    told = [first, command]
    if rule.keyless:
        told.append(
            "What has no keys is accepted by its words; where a row has keys, `--key` chooses among them."
        )
    if "ignore" in words_for(rule):
        told.append(
            "For all checkpoints of a project, its settings can make it an error, or ignore it: see "
            "[Configuration](configuration.md#severity-by-rule)."
        )
    return "\n\n".join(told)


def _blocks(body: str) -> Iterator[Block]:
    """The blocks of Markdown; links are their words."""
    code: list[str] | None = None
    paragraph: list[str] = []
    for line in [*_LINK.sub(r"\1", body).splitlines(), ""]:
        fence = line.startswith(_FENCE)
        if paragraph and (fence or not line or line.startswith("- ")):
            yield _prose(paragraph)
            paragraph = []
        if fence:
            if code is not None:
                yield Block("code", "\n".join(code))
            code = [] if code is None else None
        elif code is not None:
            code.append(line)
        elif line:
            paragraph.append(line.strip())


def _prose(lines: list[str]) -> Block:
    text = " ".join(lines)
    return Block("item", text.removeprefix("- ")) if text.startswith("- ") else Block("text", text)


def _shown(blocks: Iterable[Block], width: int) -> Iterator[str]:
    """Blocks as lines for a terminal: prose is wrapped, code stands as it is."""
    before = None
    for block in blocks:
        if before is not None and not before == block.kind == "item":
            yield ""
        before = block.kind
        if block.kind == "code":
            yield from (f"    {line}" if line else "" for line in block.text.split("\n"))
            continue
        item = block.kind == "item"
        yield from textwrap.wrap(
            f"- {block.text}" if item else block.text,
            width,
            initial_indent="  ",
            subsequent_indent="    " if item else "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
