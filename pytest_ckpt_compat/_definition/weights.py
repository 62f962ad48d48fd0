"""Reads real weights directly from a checkpoint's bytes, without pickle: nothing in the file runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import OBJECT, UNINITIALIZED, Location, Structure, TensorSpec
from pytest_ckpt_compat._definition.empty_state import empty

if TYPE_CHECKING:
    import torch


def is_readable(structure: Structure) -> bool:
    """Whether the numbers of every tensor can be read."""
    tensors = (key for key, spec in structure.tensors.items() if spec.dtype not in (OBJECT, UNINITIALIZED))
    return all(key in structure.locations for key in tensors)


def read_weights(structure: Structure) -> dict[str, Any]:
    """Reads every entry of a structure with its real numbers. Keys that shared a tensor share it again.

    The files are mapped privately into memory, as ``torch.load(mmap=True)`` does: the system reads
    pages on use, and writing to a tensor does not change the file.

    Raises:
        ReadError: a tensor's location is not known (quantized or sparse tensors), or the file is
            now shorter.
    """
    files = _Files(structure)
    read: dict[tuple[Location, TensorSpec], torch.Tensor] = {}
    state: dict[str, Any] = {}
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT:
            state[key] = structure.objects.get(key)
            continue
        if spec.dtype == UNINITIALIZED:
            state[key] = empty(spec, "cpu")
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
            read[identity] = files.tensor(location, spec)
        state[key] = read[identity]
    return state


class _Files:
    """The files that hold a structure's data, each mapped into memory once."""

    def __init__(self, structure: Structure) -> None:
        from pytest_ckpt_compat._readers import record_offsets

        records: dict[str, set[str]] = {}
        for location in structure.locations.values():
            records.setdefault(location.file, set()).add(location.record)
        self._starts = {file: record_offsets(file, names) for file, names in records.items()}
        self._storages = {file: _map(file) for file in records}

    def tensor(self, location: Location, spec: TensorSpec) -> torch.Tensor:
        """Returns the tensor at a location: a view of the file if it is aligned, else a copy."""
        import torch

        dtype: torch.dtype = getattr(torch, spec.dtype)
        if not spec.numel:
            return torch.empty(spec.shape, dtype=dtype)
        whole = self._storages[location.file]
        begin = self._starts[location.file][location.record] + location.offset
        steps = zip(spec.shape, location.stride, strict=True)
        end = begin + (sum((size - 1) * step for size, step in steps) + 1) * dtype.itemsize
        if end > whole.nbytes():
            raise ReadError(location.file, "is shorter than its own directory says", "copy the file again")
        storage = whole[begin:end]
        if begin % dtype.itemsize:
            storage = storage.clone()
        return torch.empty(0, dtype=dtype).set_(storage, 0, spec.shape, location.stride)


def _map(path: str) -> torch.UntypedStorage:
    import os

    import torch

    try:
        storage: Any = torch.UntypedStorage.from_file(path, False, os.path.getsize(path))
    except (OSError, RuntimeError) as error:
        raise ReadError(path, f"cannot be mapped into memory ({error})", "check the file") from error
    return storage  # type: ignore[no-any-return]
