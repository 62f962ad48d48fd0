"""Converts pickled NumPy scalars and small arrays to numbers and lists of numbers."""

from __future__ import annotations

import math
import struct
from typing import Any

from pytest_ckpt_compat._readers.pickle.inert import Global, Made

#: Elements above which a placeholder replaces an array.
_ELEMENTS = 10_000

_CODES = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}


def plain(value: Made, name: str, otherwise: Any) -> Any:
    """Returns a pickled NumPy value as a number or nested lists; ``otherwise`` if it is of another kind."""
    try:
        if name == "numpy.core.multiarray.scalar":
            dtype, raw = value.args
            return _numbers(dtype, raw, 1)[0]
        if name == "numpy.core.multiarray._reconstruct":
            _, shape, dtype, fortran, raw = value.state
            numel = math.prod(shape)
            if fortran or numel > _ELEMENTS or len(shape) > 32:
                return otherwise
            return _nested(_numbers(dtype, raw, numel), shape)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error):
        pass  # another dtype, or the format of another version
    return otherwise


def _numbers(dtype: Any, raw: Any, numel: int) -> list[Any]:
    if type(dtype.maker) is not Global or str(dtype.maker) != "numpy.dtype" or type(raw) is not bytes:
        raise ValueError("not a NumPy value")
    order = ">" if dtype.state[1] == ">" else "<"
    return list(struct.unpack(f"{order}{numel}{_CODES[dtype.args[0]]}", raw))


def _nested(numbers: list[Any], shape: tuple[int, ...]) -> Any:
    for size in reversed(shape[1:]):
        numbers = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return numbers if shape else numbers[0]
