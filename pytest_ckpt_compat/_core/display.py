"""Text for people: safe names and paths, counted nouns."""

from __future__ import annotations

import io


def visible(text: str) -> str:
    r"""Escapes everything in ``text`` that a terminal would act on or hide.

    Control characters, line breaks, text-direction overrides and lone surrogates become ``\x1b``,
    ``\u202e`` and the like. Printable characters stay. Use it for display only: data keep the exact
    names.
    """
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() else _escape(ord(ch)) for ch in text)


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def typed(text: str) -> str:
    """An argument of a command line: UTF-8, as ids, keys and reasons are stored, under any locale."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def escape_what_cannot_be_shown(*streams: object) -> None:
    r"""Lets text streams write ``\xe9`` for a letter that their encoding lacks, instead of an error."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def size(number: int) -> str:
    """Shows a number of bytes: ``512 bytes``, ``1.5 kB``, ``14.2 GB``."""
    shown, units = float(number), ("bytes", "kB", "MB", "GB", "TB", "PB")
    for unit in units:
        if shown < 1000 or unit == units[-1]:
            return f"{shown:,.1f}".removesuffix(".0") + f" {unit}"
        shown /= 1000
    raise AssertionError(number)


def count(number: int, noun: str) -> str:
    """Counts a noun: ``1 tensor``, ``312 tensors``, ``1,024 tensors``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def and_so_for(others: int) -> str:
    """``, and so for 3 others``, after what is said of one thing and holds of more; "" if of no others."""
    return f", and so for {count(others, 'other')}" if others else ""
