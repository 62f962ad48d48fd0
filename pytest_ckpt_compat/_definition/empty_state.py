"""Makes a state_dict like a checkpoint's, with tensors whose numbers do not matter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import OBJECT, UNINITIALIZED, Structure, TensorSpec

if TYPE_CHECKING:
    import torch

_SPARSE = "sparse_coo_"
#: Compressed layouts. A copy needs equal numbers of non-zeros on both sides, which are not read.
_COMPRESSED = ("sparse_csr_", "sparse_csc_", "sparse_bsr_", "sparse_bsc_")


def empty_state(structure: Structure, device: str) -> Mapping[str, Any]:
    """Makes a state_dict like the checkpoint's, with tensors whose numbers do not matter.

    Raises:
        ReadError: a tensor is compressed, so its numbers decide whether it can be copied.
    """
    state: dict[str, Any] = {}
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT:
            state[key] = structure.objects.get(key)
        elif spec.dtype.startswith(_COMPRESSED):
            raise ReadError(
                structure.source.path,
                f"{key} ({spec}) is compressed: whether it loads depends on its numbers, which are not read",
                "save it dense, or as sparse_coo",
            )
        else:
            location = structure.locations.get(key)
            state[key] = empty(spec, device, location.stride if location else None)
    for first, *others in structure.aliases:
        state.update(dict.fromkeys(others, state[first]))
    return with_metadata(state, structure)


def empty(spec: TensorSpec, device: str, stride: tuple[int, ...] | None = None) -> torch.Tensor:
    """Makes a tensor of a spec, whose numbers do not matter; contiguous if no stride is given.

    On the CPU the numbers are zeros.
    """
    import torch

    if spec.dtype == UNINITIALIZED:
        kind: Any = torch.nn.UninitializedParameter
        return kind(device=device)  # type: ignore[no-any-return]
    sparse = spec.dtype.startswith(_SPARSE)
    # A dtype that this torch lacks becomes uint8: the shape still counts.
    dtype = getattr(torch, spec.dtype.removeprefix(_SPARSE), torch.uint8)
    if dtype in (torch.qint8, torch.quint8, torch.qint32):
        return torch._empty_affine_quantized(spec.shape, scale=1.0, zero_point=0, dtype=dtype, device=device)
    if sparse:
        return torch.empty(spec.shape, dtype=dtype, device=device, layout=torch.sparse_coo)
    if stride is None:
        stride = torch.empty(spec.shape, device="meta").stride()
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


def with_metadata(state: Mapping[str, Any], structure: Structure) -> Mapping[str, Any]:
    """Adds the checkpoint's ``_metadata``: the versions in it affect the load."""
    ordered: OrderedDict[str, Any] = OrderedDict((key, state[key]) for key in structure.tensors)
    if structure.versions is not None:
        names = {"", *structure.versions}
        for key in structure.tensors:
            parts = key.split(".")[:-1]
            names.update(".".join(parts[: n + 1]) for n in range(len(parts)))
        metadata = {name: {"version": structure.versions.get(name, 1)} for name in names}
        ordered._metadata = metadata  # type: ignore[attr-defined]
    return ordered
