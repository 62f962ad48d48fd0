"""Tensors as a few numbers, and the tensors in whatever a ``forward`` takes and returns."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.outputs import Digest
from pytest_ckpt_compat._definition.drawn import draw

if TYPE_CHECKING:
    import torch

#: Projections of a result. Of what a module gives or takes, the first alone is kept.
PROJECTIONS = 5
#: Elements that are projected at once, and such parts of the first vector that are kept.
_PART, _KEPT = 1 << 20, 8
#: What stands in for a number that is none.
_NAN, _INFINITY = 3.0, 7.0
#: Tensors of one result, and collections in collections.
_MOST, _DEPTH = 1_000, 16


def digest(tensor: torch.Tensor, projections: int = PROJECTIONS) -> Digest:
    """A tensor as its norm and its projections on vectors drawn from their numbers.

    Numbers that are none (NaN, infinities) count as fixed ones, so that their places matter.
    """
    dtype = str(tensor.dtype).rpartition(".")[2]
    norm, sums = _measured([tensor], projections)
    return Digest(dtype, tuple(tensor.shape), norm, sums)


def together(tensors: Iterable[torch.Tensor]) -> Digest:
    """Several tensors as one, with one projection."""
    norm, sums = _measured(tensors, 1)
    return Digest("", (), norm, sums)


def tensors_by_path(value: Any, detached: bool = True) -> dict[str, torch.Tensor]:
    """Path -> each tensor in nested tuples, lists, mappings and dataclasses; "" for a tensor alone."""
    found: dict[str, torch.Tensor] = {}
    for path, tensor in _walk(value, "", 0):
        if len(found) == _MOST:
            break
        found[path] = tensor.detach() if detached else tensor
    return found


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, torch.tensor(float(value), dtype=torch.float64)
    elif depth < _DEPTH:
        for name, each in _inside(value):
            yield from _walk(each, f"{path}.{name}" if path else name, depth + 1)


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(name), value[name]) for name in value)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=False)
    elif isinstance(value, (tuple, list)):
        yield from ((str(number), each) for number, each in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value))


def _measured(tensors: Iterable[torch.Tensor], projections: int) -> tuple[float, tuple[float, ...]]:
    """The norm of tensors one after another, and their projections divided by it."""
    squares, sums, begin = 0.0, [0.0] * projections, 0
    for tensor in tensors:
        flat = _numbers(tensor)
        for start in range(0, flat.numel(), _PART):
            part = flat[start : start + _PART]
            squares += float(part.dot(part))
            for number in range(projections):
                vector = _vector(number, begin // _PART, begin % _PART, part.numel())
                sums[number] += float(part.dot(vector))
            begin += part.numel()
    norm = math.sqrt(squares)
    return norm, tuple(each / norm if norm else 0.0 for each in sums)


def _numbers(tensor: torch.Tensor) -> torch.Tensor:
    """The elements as one row of float64."""
    import torch

    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    flat = tensor.reshape(-1).to(device="cpu", dtype=torch.float64)
    if bool(torch.isfinite(flat).all()):
        return flat
    return torch.nan_to_num(flat, nan=_NAN, posinf=_INFINITY, neginf=-_INFINITY)


def _vector(number: int, part: int, offset: int, length: int) -> torch.Tensor:
    """Elements of the vector with this number, from the middle of one part on."""
    if number or part >= _KEPT or offset + length > _PART:
        return draw(f"projection {number}", length, part * _PART + offset)
    return _kept(part)[offset : offset + length]


@functools.lru_cache(_KEPT)
def _kept(part: int) -> torch.Tensor:
    """A part of the first vector, which every module's digest takes."""
    return draw("projection 0", _PART, part * _PART)
