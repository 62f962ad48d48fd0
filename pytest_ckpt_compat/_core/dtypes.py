"""Which casts of a dtype keep every value, and which lose what was saved."""

from __future__ import annotations

import functools

from pytest_ckpt_compat._core.structure import TensorSpec

_FLOATS = {"bfloat16": 1, "float16": 1, "float32": 2, "float64": 3}
_INTEGERS = {"int8": 0, "int16": 1, "int32": 2, "int64": 3}
_CODES = ("int8", "uint8")
_COMPLEX = "keep it complex in the definition, or convert it while loading (migrate=)"
#: What helps where a weight is held as the numbers of a quantization.
DEQUANTIZE = (
    "multiply the weights by their scales while loading (migrate=), "
    "or load it with the quantization it was saved with"
)


def widens(old: TensorSpec, new: TensorSpec) -> bool:
    """Whether every value of the old dtype is one of the new: ``bfloat16 -> float32``."""
    return any(
        old.dtype in order and new.dtype in order and order[old.dtype] < order[new.dtype]
        for order in (_FLOATS, _INTEGERS)
    ) or (old.dtype.startswith("float8_") and new.dtype in ("float32", "float64"))


def lost(key: str, old: TensorSpec, new: TensorSpec) -> tuple[str, str]:
    """What a cast loses, in words, and what helps; "" for what is not lost, or is not a break.

    Only the kinds of the dtypes decide: whether a value is too large for its new dtype shows in no header.
    """
    before, after = _family(old.dtype), _family(new.dtype)
    if before == "complex" and after != "complex":
        return "discards the imaginary part", _COMPLEX
    if old.dtype in _CODES and after == "float" and _is_weight(key, old):
        return "takes quantized numbers as they are", DEQUANTIZE
    if before == "float" and after == "integer":
        return "cuts off the fraction", ""
    if after == "bool" and before in ("float", "integer") and old.dtype != "uint8":  # masks before torch 1.2
        return "keeps only whether it is zero", ""
    return "", ""


@functools.lru_cache(maxsize=256)  # a model in another dtype asks it of each tensor
def _family(dtype: str) -> str:
    if dtype.startswith("complex"):
        return "complex"
    if dtype.startswith(("float", "bfloat")):
        return "float"
    if dtype.startswith(("int", "uint")):
        return "integer"
    return dtype


def _is_weight(key: str, spec: TensorSpec) -> bool:
    """Whether a tensor of small integers is a weight: masks and tables have other names, or are unsigned."""
    named = key.rpartition(".")[2].endswith("weight")
    return len(spec.shape) > 1 and (named or spec.dtype == "int8")
