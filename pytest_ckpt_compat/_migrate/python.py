"""Pieces of Python source, spelt as ``ruff format`` spells them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._migrate.templates import Ref, Template

#: Columns of a line of code.
WIDTH = 88
#: An option and its value, which stay on one line so that they can be copied.
_OPTION = re.compile(r"--choose (?:'[^']*'|\S+)")
#: A space that is no place to break a line; ``visible`` leaves none in a text.
_HELD = "\0"
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def literal(text: str) -> str:
    """A string literal that is the text, whatever is in it."""
    return _quoted(text, _escaped(text))


def raw(text: str) -> str:
    """A raw literal where the text has backslashes and one can be written, else an ordinary one."""
    plain = text.isprintable() and '"' not in text and not text.endswith("\\")
    return f'r"{text}"' if plain and "\\" in text else literal(text)


def _quoted(text: str, escaped: str) -> str:
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + escaped.replace(quote, "\\" + quote) + quote


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(ch) or (ch if ch.isprintable() else _code(ord(ch))) for ch in text)


def _code(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def formatted(template: Template, name: str = "found") -> str:
    """A literal, or an f-string that makes a key of what the groups of a match found."""
    if all(isinstance(part, str) for part in template):
        return literal("".join(map(str, template)))
    text = "".join(part for part in template if isinstance(part, str))
    body = "".join(
        _escaped(part).replace("{", "{{").replace("}", "}}") if isinstance(part, str) else _group(part, name)
        for part in template
    )
    return "f" + _quoted(text, body)


def _group(ref: Ref, name: str) -> str:
    if not ref.group:  # the number that a list counts
        return "{i}"
    if not ref.shift:
        return f"{{{name}[{ref.group}]}}"
    return f"{{int({name}[{ref.group}]) {'+' if ref.shift > 0 else '-'} {abs(ref.shift)}}}"


def replacement(template: Template) -> str:
    r"""What ``re.sub`` takes for a template: text with ``\1``, or a function where a number is shifted."""
    if any(isinstance(part, Ref) and part.shift for part in template):
        return f"lambda found: {formatted(template)}"
    parts: list[str] = []
    for index, part in enumerate(template):
        if isinstance(part, str):
            parts.append(part.replace("\\", "\\\\"))
            continue
        after = template[index + 1 : index + 2]
        digit = bool(after) and isinstance(after[0], str) and after[0][:1].isdigit()
        parts.append(f"\\g<{part.group}>" if digit else f"\\{part.group}")
    return raw("".join(parts))


def pair(left: str, right: str, indent: int) -> list[str]:
    """The lines of a tuple of two in a list."""
    pad = " " * indent
    line = f"{pad}({left}, {right}),"
    if len(line) <= WIDTH:
        return [line]
    return [f"{pad}(", f"{pad}    {left},", f"{pad}    {right},", f"{pad}),"]


def assigned(name: str, value: str, indent: int) -> list[str]:
    """The lines of an assignment of a literal: on the next line if it is too long, and fits there."""
    pad = " " * indent
    line = f"{pad}{name} = {value}"
    if len(line) <= WIDTH or indent + 4 + len(value) > WIDTH:
        return [line]
    return [f"{pad}{name} = (", f"{pad}    {value}", f"{pad})"]


def listed(name: str, items: Sequence[str], indent: int) -> list[str]:
    """The lines of a list, one item a line."""
    pad = " " * indent
    return [f"{pad}{name} = [", *(f"{pad}    {item}," for item in items), f"{pad}]"]


def commented(lines: Iterable[str], indent: int) -> Iterator[str]:
    """Lines of code, commented out at an indentation."""
    for line in lines:
        yield f"{' ' * indent}# {line[indent:]}".rstrip()


def comment(text: str, indent: int = 0) -> list[str]:
    """The lines of a comment, wrapped at the width of the code; a word that is longer keeps its own line.

    Lines after the first stand two columns further in, so that each remark begins where a line stands out.
    """
    pad = " " * indent
    held = _OPTION.sub(lambda found: found[0].replace(" ", _HELD), visible(text))
    lines = textwrap.wrap(
        held,
        WIDTH,
        initial_indent=f"{pad}# ",
        subsequent_indent=f"{pad}#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_HELD, " ") for line in lines]
