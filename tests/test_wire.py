"""What the merge base's code answers arrives whole."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ckpt_compat._core.changes import Change, Confidence, Kind, Severity
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._premerge.wire import as_data, from_data

SPECS = st.builds(TensorSpec, st.sampled_from(["float32", "int64"]), st.tuples(st.integers(0, 9)))
VALUES = {
    "kind": st.sampled_from(get_args(Kind)),
    "old_specs": st.lists(SPECS).map(tuple),
    "new_specs": st.lists(SPECS).map(tuple),
    "confidence": st.sampled_from(get_args(Confidence)),
    "severity": st.none() | st.sampled_from(Severity),
    **{name: st.lists(st.text()).map(tuple) for name in ("old", "new", "evidence", "candidates", "rivals")},
    **{name: st.text() for name in ("group", "detail", "advice", "rule", "reason")},
}


@given(st.builds(Change, **VALUES))
def test_every_fact_arrives(change: Change) -> None:
    assert from_data(json.loads(json.dumps(as_data(change)))) == change


def test_every_field_is_among_those_tried() -> None:
    assert {field.name for field in fields(Change)} == set(VALUES)


@pytest.mark.parametrize("data", [{}, {"severity": "error"}, as_data(Change("missing")) | {"x": 1}])
def test_anything_else_is_refused(data: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError, LookupError)):
        from_data(data)
