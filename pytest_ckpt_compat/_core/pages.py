"""A rule's page: in Markdown for the site and for tools, and as text for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.links import documentation, rule_url
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.severities import words_for

#: The widest line of a page on a terminal.
WIDTH = 100
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_FENCE = "```"


def severity(rule: Rule) -> str:
    """``error (strict=False: warning)``: a rule's severity in words."""
    lenient = f" (strict=False: {rule.lenient.value})" if rule.lenient else ""
    return rule.severity.value + lenient


def markdown(rule: Rule) -> str:
    """The page without its heading; links lead to other pages of the site."""
    parts = []
    for title, body in _sections(rule):
        parts.append(f"**{title}.** {body}" if title and not body.startswith(_FENCE) else body)
        if title and body.startswith(_FENCE):
            parts[-1] = f"**{title}.**\n\n{body}"
    return "\n\n".join(parts)


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
    for title, body in _sections(rule):
        shown = "\n".join(_shown(body, max(min(width, WIDTH), 40))).rstrip()
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


def _shown(body: str, width: int) -> Iterator[str]:
    """Markdown as lines: paragraphs are wrapped, code stands as it is, links are their words."""
    code = False
    paragraph: list[str] = []
    for line in [*_LINK.sub(r"\1", body).splitlines(), ""]:
        fence = line.startswith(_FENCE)
        if paragraph and (fence or not line or line.startswith("- ")):
            yield from _wrapped(" ".join(paragraph), width)
            paragraph = []
        if fence:
            code = not code
        elif code or not line:
            yield f"    {line}" if line else ""
        else:
            paragraph.append(line.strip())


def _wrapped(paragraph: str, width: int) -> list[str]:
    item = paragraph.startswith("- ")
    return textwrap.wrap(
        paragraph,
        width,
        initial_indent="  ",
        subsequent_indent="    " if item else "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
