"""Parsers of the literals that the text opcodes of protocol 0 contain."""

from __future__ import annotations

import re

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import over_limit

_INTEGER = re.compile(rb"[+-]?[0-9]+")
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def integer(text: bytes) -> int:
    """Parses a decimal integer. Raises ValueError for anything else."""
    if len(text) > limits.INTEGER_LENGTH:
        raise over_limit("digits in one integer", limits.INTEGER_LENGTH)
    if not _INTEGER.fullmatch(text):
        raise ValueError("not an integer")
    return int(text)


def index(text: bytes) -> int:
    """Parses the index of a memo entry. Raises ValueError for anything else."""
    number = integer(text)
    if not 0 <= number < 1 << 32:
        raise ValueError("not a memo index")
    return number


def int_or_bool(text: bytes) -> int:
    """Parses an integer; ``01`` and ``00`` are True and False."""
    return {b"00": False, b"01": True}[text] if text in (b"00", b"01") else integer(text)


def real(text: bytes) -> float:
    """Parses a floating-point number. Raises ValueError for anything else."""
    if len(text) > limits.INTEGER_LENGTH:
        raise over_limit("digits in one number", limits.INTEGER_LENGTH)
    return float(text)


def quoted(text: bytes) -> str | bytes:
    """Parses a Python 2 string literal. Raises ValueError for anything else."""
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ValueError("not a quoted string")
    return text_or_bytes(_ESCAPE.sub(_unescape, text[1:-1]))


def text_or_bytes(raw: bytes) -> str | bytes:
    """Decodes a Python 2 string: text if it is UTF-8, otherwise bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _unescape(match: re.Match[bytes]) -> bytes:
    code: bytes = match[1]
    if code[:1] == b"x":
        return bytes([int(code[1:], 16)])
    if code[:1].isdigit():
        return bytes([int(code, 8) & 0xFF]) if code[:1] in b"01234567" else b"\\" + code
    return _LETTERS.get(code, code if code in (b"\\", b"'", b'"') else b"\\" + code)
