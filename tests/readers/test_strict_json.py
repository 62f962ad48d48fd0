"""JSON in which nothing is said twice: what is refused, and what it costs to see it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.source import strict_json
from tests.counting import calls

NAMES = st.sampled_from(["a", "b", "a:b", ":", "\\", '"', "é"])
TEXT = NAMES.map(json.dumps)


@st.composite
def _objects(draw: st.DrawFn, depth: int = 3) -> tuple[str, bool]:
    """The text of an object, and whether any object in it has a name twice."""
    names = draw(st.lists(NAMES, max_size=4))
    twice, parts = len(set(names)) < len(names), []
    for name in names:
        kind = draw(st.integers(0, 3 if depth else 1))
        inner, more = draw(_objects(depth - 1)) if kind > 1 else (draw(TEXT) if kind else "1", False)
        twice |= more
        written = json.dumps(name, ensure_ascii=draw(st.booleans()))
        parts.append(f"{written}: {f'[{inner}]' if kind == 3 else inner}")
    return "{" + ",".join(parts) + "}", twice


@given(_objects())
def test_what_says_nothing_twice_is_read_as_json_reads_it(drawn: tuple[str, bool]) -> None:
    text, twice = drawn
    if twice:
        with pytest.raises(RefusalError, match="it has a duplicate name"):
            strict_json.parse_object(text.encode(), "it")
    else:
        assert strict_json.parse_object(text.encode(), "it") == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1, "b": 1}}',
        '{"a": {"b": 1, "c": 2}, "a": 1}',
        '{"a": 1, "a": {"b": 1, "c": 2}}',
        '{"a": [{"b": 1, "b": 1}]}',
        '{"\\u003a": 1, "\\u003a": 1}',
    ],
)
def test_a_name_that_hides_another_is_refused(text: str) -> None:
    with pytest.raises(RefusalError, match="it has a duplicate name"):
        strict_json.parse_object(text.encode(), "it")


@pytest.mark.parametrize("digits", [20, 21, 5000])
def test_numbers_of_more_digits_than_a_size_has_are_refused(digits: int) -> None:
    raw = b'{"a": -' + b"9" * digits + b"}"
    if digits == 20:
        assert strict_json.parse_object(raw, "it") == {"a": -int("9" * 20)}
        return
    with pytest.raises(RefusalError, match="unexpected number"):
        strict_json.parse_object(raw, "it")


def test_an_object_of_objects_takes_no_call_of_python_for_each() -> None:
    entry: dict[str, Any] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    counted = []
    for number in (10, 1_010):
        raw = json.dumps({f"layers.{each}.weight": entry for each in range(number)}).encode()
        with calls() as counter:
            strict_json.parse_object(raw, "it")
            counted.append(counter())
    assert counted[1] - counted[0] <= 2_500  # len, and one step of a sum
