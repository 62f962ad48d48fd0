"""Shapes and strides from a file, checked before use."""

from __future__ import annotations

import functools
import math
from typing import Any

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import damaged, over_limit


def sizes(value: Any) -> tuple[int, ...]:
    """Returns sizes or strides as a tuple. Refuses anything but integers from 0 to int64's maximum."""
    if type(value) is not tuple and type(value) is not list:
        raise damaged("it has a tensor whose shape or stride is not a list of numbers")
    if len(value) > limits.DIMENSIONS:
        raise over_limit("dimensions in a tensor", limits.DIMENSIONS)
    for size in value:
        if type(size) is not int or not 0 <= size <= limits.ELEMENTS:
            raise damaged("it has a tensor whose shape or stride holds something other than 64-bit sizes")
    return tuple(value)


def shape(value: Any) -> tuple[int, ...]:
    """As ``sizes``. Refuses a shape whose number of elements exceeds int64."""
    result = sizes(value)
    if math.prod(result) > limits.ELEMENTS:
        raise damaged("it has a tensor with more elements than 64 bits can count")
    return result


@functools.lru_cache(maxsize=1024)  # the layers of a model have the same few
def contiguous(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the strides, in elements, of a contiguous tensor."""
    stride = [1] * len(lengths)
    for axis in range(len(lengths) - 2, -1, -1):
        stride[axis] = stride[axis + 1] * max(lengths[axis + 1], 1)
    return tuple(stride)
