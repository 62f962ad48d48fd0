"""Makes tensors of a spec, whose numbers do not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.contents import PER_CHANNEL
from pytest_ckpt_compat._core.structure import META, UNINITIALIZED, TensorSpec
from pytest_ckpt_compat._definition.contents import quantized
from pytest_ckpt_compat._readers.shapes import contiguous

if TYPE_CHECKING:
    import torch

_SPARSE = "sparse_coo_"


def empty(spec: TensorSpec, device: str, stride: tuple[int, ...] | None = None) -> torch.Tensor:
    """Makes a tensor of a spec, whose numbers do not matter; contiguous if no stride is given.

    On the CPU the numbers are zeros.
    """
    import torch

    if spec.dtype == UNINITIALIZED:
        kind: Any = torch.nn.UninitializedParameter
        return kind(device=device)  # type: ignore[no-any-return]
    if spec.dtype.startswith(META):
        return empty(replace(spec, dtype=spec.dtype.removeprefix(META)), "meta", stride)
    sparse = spec.dtype.startswith(_SPARSE)
    # A dtype that this torch lacks becomes uint8: the shape still counts.
    dtype = getattr(torch, spec.dtype.removeprefix(_SPARSE), torch.uint8)
    if dtype in (torch.qint8, torch.quint8, torch.qint32) or spec.dtype.startswith(PER_CHANNEL):
        return quantized(spec, {})
    if sparse:
        return torch.empty(spec.shape, dtype=dtype, device=device, layout=torch.sparse_coo)
    if stride is None:
        stride = contiguous(spec.shape)
    if device == "meta" or not spec.numel:
        return torch.empty_strided(spec.shape, stride, dtype=dtype, device=device)
    steps = zip(spec.shape, stride, strict=True)
    length = sum((size - 1) * step for size, step in steps) + 1
    # Not every dtype can be filled: float4_e2m1fn_x2 has nothing but copies.
    zeros = torch.zeros(length * dtype.itemsize, dtype=torch.uint8).untyped_storage()
    return torch.empty(0, dtype=dtype).set_(zeros, 0, spec.shape, stride)


def zero(spec: TensorSpec) -> torch.Tensor:
    """Makes a zero of the spec's dtype, without dimensions and not on meta."""
    import torch

    return torch.zeros((), dtype=getattr(torch, spec.dtype, torch.float32))
