"""A report of another schema is refused with both schemas."""

from __future__ import annotations

import json

import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._report import reading
from pytest_ckpt_compat._report.json import SCHEMA, written_by


def test_another_schema_is_named() -> None:
    text = json.dumps({"schema": SCHEMA + 1, "written_by": written_by(), "checkpoints": []})
    with pytest.raises(ReadError) as raised:
        reading.loads(text, "a.json")
    assert f"is of schema {SCHEMA + 1}, and {written_by()} reads {SCHEMA}" in str(raised.value)


def test_a_failure_without_a_reason_is_refused() -> None:
    entry = {
        "id": "a",
        "state": "ok",
        "compatible": True,
        "headline": "OK a",
        "text": "",
        "where": "",
        "old": {"source": "", "tensors": None, "digest": None},
        "new": {"source": "", "tensors": None, "digest": None},
        "changes": [],
        "notes": [],
    }
    data = {
        "schema": SCHEMA,
        "written_by": written_by(),
        "compatible": True,
        "compared": "compared  1 checkpoint",
        "against": None,
        "migrations": {"broken": [], "repaired": {}, "unused": []},
        "failures": [],
        "settings": [],
        "registered": ["a"],
        "deselected": [],
        "checkpoints": [entry],
    }
    assert reading.loads(json.dumps(data), "a.json").checked
    with pytest.raises(ReadError, match="not compatible by its own word, and no checkpoint in it says why"):
        reading.loads(json.dumps(data | {"compatible": False}), "a.json")
