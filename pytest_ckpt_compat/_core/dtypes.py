"""Which casts of a dtype keep every value."""

from __future__ import annotations

from pytest_ckpt_compat._core.structure import TensorSpec

_FLOATS = {"bfloat16": 1, "float16": 1, "float32": 2, "float64": 3}
_INTEGERS = {"int8": 0, "int16": 1, "int32": 2, "int64": 3}
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")


def widens(old: TensorSpec, new: TensorSpec) -> bool:
    """Whether every value of the old dtype is one of the new: ``bfloat16 -> float32``."""
    return any(
        old.dtype in order and new.dtype in order and order[old.dtype] < order[new.dtype]
        for order in (_FLOATS, _INTEGERS)
    ) or (old.dtype.startswith("float8_") and new.dtype in ("float32", "float64"))


def lost(old: TensorSpec, new: TensorSpec) -> str:
    """What a cast loses beyond precision, in words; "" for nothing that is known."""
    if old.dtype.startswith("complex"):
        return "" if new.dtype.startswith("complex") else "the imaginary part is lost"
    if old.dtype.startswith(("float", "bfloat")) and new.dtype == "bool":
        return "what is not zero becomes True"
    if old.dtype.startswith(("float", "bfloat")) and new.dtype in (*_INTEGERS, *_UNSIGNED):
        return "fractions are lost"
    codes = old.dtype in ("int8", "uint8") and new.dtype.startswith(("float", "bfloat"))
    return "quantized numbers would lack their scale" if codes and len(old.shape) > 1 else ""
