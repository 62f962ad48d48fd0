"""Checks what a file says about a tensor before it is believed."""

from __future__ import annotations

import math
from typing import Any

from pytest_ckpt_compat._core.structure import ITEM_SIZES
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import damaged, over_limit
from pytest_ckpt_compat._readers.pickle.inert import Storage, Tensor


def sizes(value: Any) -> tuple[int, ...]:
    """A shape or stride: integers from 0 that int64 can hold, the product included."""
    if type(value) is not tuple and type(value) is not list:
        raise damaged("it has a tensor whose shape is no list of sizes")
    if len(value) > limits.DIMENSIONS:
        raise over_limit("dimensions in a tensor", limits.DIMENSIONS)
    for size in value:
        if type(size) is not int or not 0 <= size <= limits.ELEMENTS:
            raise damaged("it has a tensor whose shape or stride is not made of natural numbers")
    return tuple(value)


def shape(value: Any) -> tuple[int, ...]:
    """A shape whose number of elements int64 can hold."""
    result = sizes(value)
    if math.prod(result) > limits.ELEMENTS:
        raise damaged("it has a tensor with more elements than can be counted")
    return result


def dense(storage: Any, offset: Any, size: Any, stride: Any, dtype: str, *, plain: bool) -> Tensor:
    """A tensor that views a storage, inside which it must lie."""
    if type(storage) is not Storage:
        raise damaged("it has a tensor without a storage")
    if type(offset) is not int or not 0 <= offset <= limits.ELEMENTS:
        raise damaged("it has a tensor that begins before its storage")
    lengths, steps = shape(size), sizes(stride)
    if len(lengths) != len(steps):
        raise damaged("it has a tensor with another number of strides than of dimensions")
    item = ITEM_SIZES.get(dtype, 0)
    if item >= 1 and 0 not in lengths:
        last = offset + sum((length - 1) * step for length, step in zip(lengths, steps, strict=True))
        if (last + 1) * item > storage.numel * ITEM_SIZES[storage.dtype]:
            raise damaged("it has a tensor that reaches beyond its storage")
    return Tensor(dtype, lengths, storage, offset, steps, plain=plain and item >= 1)


def contiguous(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose elements lie one after the other."""
    stride = [1] * len(lengths)
    for axis in range(len(lengths) - 2, -1, -1):
        stride[axis] = stride[axis + 1] * max(lengths[axis + 1], 1)
    return tuple(stride)
