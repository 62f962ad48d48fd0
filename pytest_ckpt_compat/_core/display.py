"""How names and paths from files are shown to a person."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""``text`` with everything that a terminal would act on or hide written as an escape.

    Control characters, line breaks, text-direction overrides and lone surrogates come out as
    ``\x1b``, ``\u202e`` and the like; printable characters stay as they are. Data keep the exact
    name: this is for display alone.
    """
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() else _escape(ord(ch)) for ch in text)


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def count(number: int, noun: str) -> str:
    """``1 tensor``, ``312 tensors``, ``1,024 tensors``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
