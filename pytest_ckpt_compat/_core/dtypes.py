"""Which casts of a dtype keep every value."""

from __future__ import annotations

from pytest_ckpt_compat._core.structure import TensorSpec

_FLOATS = {"bfloat16": 1, "float16": 1, "float32": 2, "float64": 3}
_INTEGERS = {"int8": 0, "int16": 1, "int32": 2, "int64": 3}


def widens(old: TensorSpec, new: TensorSpec) -> bool:
    """Whether every value of the old dtype is one of the new: ``bfloat16 -> float32``."""
    return any(
        old.dtype in order and new.dtype in order and order[old.dtype] < order[new.dtype]
        for order in (_FLOATS, _INTEGERS)
    ) or (old.dtype.startswith("float8_") and new.dtype in ("float32", "float64"))
