"""A state_dict like a checkpoint's, of tensors that hold no numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import OBJECT, Structure, TensorSpec

if TYPE_CHECKING:
    import torch

_SPARSE = "sparse_coo_"
#: Layouts of which a copy works only if both sides have as many non-zero numbers, which is not read.
_COMPRESSED = ("sparse_csr_", "sparse_csc_", "sparse_bsr_", "sparse_bsc_")


def empty_state(structure: Structure, device: str) -> Mapping[str, Any]:
    """A state_dict like the checkpoint's, with tensors whose numbers do not matter.

    Raises:
        ReadError: whether a tensor can be copied depends on its numbers.
    """
    state: dict[str, Any] = {}
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT:
            state[key] = structure.objects.get(key)
        elif spec.dtype.startswith(_COMPRESSED):
            raise ReadError(
                structure.source.path,
                f"{key} ({spec}) is compressed: whether it loads depends on numbers that are not read",
                "save it dense, or as sparse_coo",
            )
        else:
            state[key] = empty(spec, device)
    for first, *others in structure.aliases:
        state.update(dict.fromkeys(others, state[first]))
    return with_metadata(state, structure)


def empty(spec: TensorSpec, device: str) -> torch.Tensor:
    """A tensor of a spec, whose numbers do not matter."""
    import torch

    sparse = spec.dtype.startswith(_SPARSE)
    # Of a dtype that this torch does not have, the shape is still known.
    dtype = getattr(torch, spec.dtype.removeprefix(_SPARSE), torch.uint8)
    if dtype in (torch.qint8, torch.quint8, torch.qint32):
        return torch._empty_affine_quantized(spec.shape, scale=1.0, zero_point=0, dtype=dtype, device=device)
    layout = torch.sparse_coo if sparse else torch.strided
    return torch.empty(spec.shape, dtype=dtype, device=device, layout=layout)


def zero(spec: TensorSpec) -> torch.Tensor:
    """A real zero of a spec without dimensions."""
    import torch

    return torch.zeros((), dtype=getattr(torch, spec.dtype, torch.float32))


def with_metadata(state: Mapping[str, Any], structure: Structure) -> Mapping[str, Any]:
    """Adds ``_metadata`` as the checkpoint had it: versions decide what a load does."""
    ordered: OrderedDict[str, Any] = OrderedDict((key, state[key]) for key in structure.tensors)
    if structure.versions is not None:
        names = {"", *structure.versions}
        for key in structure.tensors:
            parts = key.split(".")[:-1]
            names.update(".".join(parts[: n + 1]) for n in range(len(parts)))
        metadata = {name: {"version": structure.versions.get(name, 1)} for name in names}
        ordered._metadata = metadata  # type: ignore[attr-defined]
    return ordered
