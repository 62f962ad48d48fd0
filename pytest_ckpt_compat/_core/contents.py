"""The parts of a tensor that its dtype and shape do not determine: a scale, indices, inner tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ckpt_compat._core.structure import Location, TensorSpec

#: Prefixes of the dtypes of tensors that are quantized by channel, as ``sparse_csr_`` is of sparse ones.
PER_CHANNEL = ("per_channel_affine_float_qparams_", "per_channel_affine_")
#: The class of distributed tensors, wherever a version of torch keeps it.
DISTRIBUTED = "torch.distributed.tensor.DTensor"


@dataclass(frozen=True, slots=True)
class Named:
    """A dtype of torch as a value.

    Attributes:
        name: its name without ``torch.``.
    """

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """A tensor, and what an equal one is made of.

    Attributes:
        spec: its dtype and shape.
        kind: ``dense``, ``number``, ``quantized``, ``sparse``, ``subclass``, or ``unknown`` if a part has
            no plain form.
        parts: name -> plain data, ``Named`` and ``Content``.
        location: the location of its elements, if it has any of its own and the file is on this machine.
        readable: whether all its numbers can be read.
    """

    spec: TensorSpec
    kind: str = "dense"
    parts: Mapping[str, Any] = field(default_factory=dict)
    location: Location | None = None
    readable: bool = False


def subclass_of(dtype: str) -> str:
    """The class in the dtype of a tensor subclass (``package.Int8Tensor.float32``), or ""."""
    return dtype.rpartition(".")[0]
