"""Real weights, straight from the bytes of a checkpoint: no pickle, nothing in the file is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat.errors import ReadError
from pytest_ckpt_compat.structure import OBJECT, Location, Structure, TensorSpec

if TYPE_CHECKING:
    import torch


def read_weights(structure: Structure) -> dict[str, Any]:
    """Every entry of a structure with its real numbers, keys that share a tensor sharing it again.

    The files are mapped into memory privately, as ``torch.load(mmap=True)`` does: pages are read
    when they are used, and writing to a tensor leaves the file as it is.

    Raises:
        ReadError: a tensor's bytes are not at hand (quantized or sparse tensors), or the file is
            shorter than it was.
    """
    files: dict[str, torch.UntypedStorage] = {}
    starts: dict[tuple[str, str], int] = {}
    read: dict[tuple[Location, TensorSpec], torch.Tensor] = {}
    state: dict[str, Any] = {}
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT:
            state[key] = structure.objects.get(key)
            continue
        location = structure.locations.get(key)
        if location is None:
            raise ReadError(
                structure.source.path,
                f"the numbers of {key} ({spec}) cannot be read",
                "save it as an ordinary dense tensor",
            )
        identity = location, spec
        if identity not in read:
            read[identity] = _read(location, spec, files, starts)
        state[key] = read[identity]
    return state


def _read(
    location: Location,
    spec: TensorSpec,
    files: dict[str, torch.UntypedStorage],
    starts: dict[tuple[str, str], int],
) -> torch.Tensor:
    import torch

    from pytest_ckpt_compat.readers import record_start

    dtype: torch.dtype = getattr(torch, spec.dtype)
    if not spec.numel:
        return torch.empty(spec.shape, dtype=dtype)
    if location.file not in files:
        files[location.file] = _map(location.file)
    record = (location.file, location.record)
    if record not in starts:
        starts[record] = record_start(location)
    begin = starts[record] + location.offset
    span = sum((size - 1) * step for size, step in zip(spec.shape, location.stride, strict=True)) + 1
    end = begin + span * dtype.itemsize
    if end > files[location.file].nbytes():
        raise ReadError(location.file, "is shorter than its own directory says", "copy the file again")
    storage = files[location.file][begin:end]
    if begin % dtype.itemsize:  # safetensors written by others may not align
        storage = storage.clone()
    tensor = torch.empty(0, dtype=dtype)
    return tensor.set_(storage, 0, spec.shape, location.stride)


def _map(path: str) -> torch.UntypedStorage:
    import os

    import torch

    try:
        storage: Any = torch.UntypedStorage.from_file(path, False, os.path.getsize(path))
    except (OSError, RuntimeError) as error:
        raise ReadError(path, f"cannot be mapped into memory ({error})", "check the file") from error
    return storage  # type: ignore[no-any-return]
