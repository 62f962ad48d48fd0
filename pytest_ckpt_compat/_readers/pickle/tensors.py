"""Strided tensors that view a storage, checked to lie inside it."""

from __future__ import annotations

import functools
from typing import Any

from pytest_ckpt_compat._core.structure import ITEM_SIZES
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import damaged
from pytest_ckpt_compat._readers.pickle.inert import Storage, Tensor
from pytest_ckpt_compat._readers.shapes import shape, sizes


def dense(storage: Any, offset: Any, size: Any, stride: Any, dtype: str, *, plain: bool) -> Tensor:
    """Describes a tensor that views a storage. Refuses one that does not lie inside it."""
    if type(storage) is not Storage:
        raise damaged("it has a tensor without a storage")
    if type(offset) is not int or not 0 <= offset <= limits.ELEMENTS:
        raise damaged("it has a tensor that begins before its storage")
    if type(size) is tuple and type(stride) is tuple:
        lengths, steps, last = _view(len(size), *size, *stride)
    else:
        lengths, steps, last = _checked(size, stride)
    item = ITEM_SIZES.get(dtype, 0)
    end = 0 if last is None else (offset + last + 1) * item
    if item >= 1 and end > storage.numel * ITEM_SIZES[storage.dtype]:
        raise damaged("it has a tensor that reaches beyond its storage")
    return Tensor(dtype, lengths, storage, offset, steps, plain=plain and item >= 1)


@functools.lru_cache(maxsize=1024, typed=True)  # the layers of a model have the same few; true is not 1
def _view(dimensions: int, *numbers: Any) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    return _checked(numbers[:dimensions], numbers[dimensions:])


def _checked(size: Any, stride: Any) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    """Returns shape, strides, and how far the last element is behind the first; None without elements."""
    lengths, steps = shape(size), sizes(stride)
    if len(lengths) != len(steps):
        raise damaged("it has a tensor whose shape and stride differ in length")
    if 0 in lengths:
        return lengths, steps, None
    return lengths, steps, sum((length - 1) * step for length, step in zip(lengths, steps, strict=True))
