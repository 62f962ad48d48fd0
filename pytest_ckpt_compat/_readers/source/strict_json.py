"""Unambiguous JSON: no duplicate names, no numbers but integers."""

from __future__ import annotations

import functools
import json
from typing import Any, NoReturn

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import damaged, over_limit

#: Each digit as 0, any other byte as none; and more digits in a row than any size has. Nearly no text has so
#: many, and then int() alone will do.
_DIGITS = bytes(ord("0") if byte in b"0123456789" else 0 for byte in range(256))
_LONG = b"0" * 21


def parse_object(raw: bytes, what: str, *, fractions: bool = False) -> dict[str, Any]:
    """Parses ``raw`` as one JSON object. Raises RefusalError.

    Args:
        raw: UTF-8 text.
        what: the subject of a refusal's message, such as ``its header``.
        fractions: whether numbers may be fractions, as in metadata that holds no sizes.
    """
    # A tensor of safetensors takes one brace, two brackets and four colons. Counting them first
    # keeps the parser from building far more than the limit allows.
    if len(raw) > 3 * limits.KEYS and (
        raw.count(b"[") + raw.count(b"{") > 3 * limits.KEYS
        or raw.count(b",") > 12 * limits.KEYS
        or raw.count(b":") > 6 * limits.KEYS
    ):
        raise over_limit("tensors", limits.KEYS)
    if len(raw) > limits.WIDE_JSON and not raw.isascii():  # one wide character makes every character wide
        raise over_limit("bytes of JSON that is not ASCII", limits.WIDE_JSON)
    parse = functools.partial(
        json.loads,
        parse_float=_fraction if fractions else _no_number,
        parse_constant=_no_number,
        parse_int=_integer if _LONG in raw.translate(_DIGITS) else int,
    )
    try:
        value = parse(raw.decode())
        if type(value) is dict and _names(value) != raw.count(b":"):
            value = parse(raw.decode(), object_pairs_hook=lambda pairs: _unique(pairs, what))
    except (ValueError, RecursionError):
        raise damaged(f"{what} is not valid JSON, or has an unexpected number") from None
    if type(value) is not dict:
        raise damaged(f"{what} is not a JSON object")
    return value


def _names(value: dict[str, Any]) -> int:
    """Counts the names of an object, and of those directly in it.

    Each name has a colon. If the text has no more of them, then it has no other names, and none twice: a
    parser without a hook, which is twice as quick, has lost nothing.
    """
    return len(value) + sum(len(each) for each in value.values() if type(each) is dict)


def _unique(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise damaged(f"{what} has a duplicate name")
    return result


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"not an integer: {text[:20]}")


def _integer(text: str) -> int:
    return int(text) if len(text) <= 20 else _no_number(text)


def _fraction(text: str) -> float:
    return float(text) if len(text) <= 40 else _no_number(text)
