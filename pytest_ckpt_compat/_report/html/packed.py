"""What a page shows of a verdict as one short text, by which a report as JSON carries it."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from pytest_ckpt_compat._report.forms import Form, require
from pytest_ckpt_compat._report.html.data import escaped

#: Bytes of what is unpacked: the trees of 250,000 keys, all renamed, take about 25 MB.
_MOST = 256 << 20
_ROW: Form = {
    "rule": str,
    "word": str,
    "sign": str,
    "subject": str,
    "parts": [str],
    "note": str,
}
_PAGE: Form = {
    "old": str,
    "new": str,
    "tensors": [(int, type(None))],
    "groups": [{"title": str, "severity": str, "rows": [_ROW], "more": int}],
    "advice": [{"rules": [str], "text": str}],
    "commands": [[str]],
    "migrations": [str],
    "code": str,
    "proof": str,
    "notes": [str],
    "trees": (dict, type(None)),
}


def packed(page: Mapping[str, Any]) -> str:
    """The text of what ``section`` made of a verdict."""
    trees = _differences(json.loads(page["trees"])) if page["trees"] else None
    text = json.dumps({**page, "trees": trees}, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpacked(text: str) -> dict[str, Any]:
    """The inverse of ``packed``; nothing in it is markup.

    Raises:
        ValueError: it is no such text.
    """
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), _MOST)
        if not stream.eof:
            raise ValueError("page is cut, or too long")
        page = json.loads(data)
        require(page, _PAGE, "page")
        page["trees"] = escaped(_sums(page["trees"])) if page["trees"] else ""
    except (zlib.error, binascii.Error, RecursionError) as error:
        raise ValueError(f"page is not what a report has ({error})") from None
    found: dict[str, Any] = page
    return found


def _differences(value: Any) -> Any:
    """Lists of numbers as their first and the steps from one to the next, which repeat where positions do."""
    if isinstance(value, dict):
        return {name: _differences(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    if _counts(value):
        return [value[0], *(after - before for before, after in pairwise(value))]
    return [_differences(each) for each in value]


def _sums(value: Any) -> Any:
    """The inverse of ``_differences``."""
    if isinstance(value, dict):
        return {name: _sums(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    return list(accumulate(value)) if _counts(value) else [_sums(each) for each in value]


def _counts(values: Sequence[Any]) -> bool:
    return len(values) > 2 and all(type(each) is int for each in values)
