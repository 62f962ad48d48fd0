"""Strided tensors that view a storage, checked to lie inside it."""

from __future__ import annotations

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
    lengths, steps = shape(size), sizes(stride)
    if len(lengths) != len(steps):
        raise damaged("it has a tensor whose shape and stride differ in length")
    item = ITEM_SIZES.get(dtype, 0)
    if item >= 1 and 0 not in lengths:
        last = offset + sum((length - 1) * step for length, step in zip(lengths, steps, strict=True))
        if (last + 1) * item > storage.numel * ITEM_SIZES[storage.dtype]:
            raise damaged("it has a tensor that reaches beyond its storage")
    return Tensor(dtype, lengths, storage, offset, steps, plain=plain and item >= 1)
