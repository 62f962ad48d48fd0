"""``Change`` <-> plain data that loses nothing: how the merge base's code answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pytest_ckpt_compat._core.changes import Change, Severity
from pytest_ckpt_compat._core.structure import TensorSpec

_SPECS = ("old_specs", "new_specs")


def as_data(change: Change) -> dict[str, Any]:
    """Every field of a change, as JSON can hold it."""
    data = {field.name: getattr(change, field.name) for field in fields(Change)}
    specs = {name: list(map(str, data[name])) for name in _SPECS}
    return data | specs | {"severity": change.severity.value if change.severity else None}


def from_data(data: Mapping[str, Any]) -> Change:
    """The inverse of ``as_data``. Raises ValueError, TypeError or LookupError for anything else."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
    }
    specs = {name: tuple(map(TensorSpec.parse, data[name])) for name in _SPECS}
    severity = None if data["severity"] is None else Severity(data["severity"])
    return Change(**(values | specs | {"severity": severity}))
