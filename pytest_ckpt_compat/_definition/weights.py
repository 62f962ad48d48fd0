"""Reads real weights directly from a checkpoint's bytes, without pickle: nothing in the file runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.contents import Content, subclass_of
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import (
    ITEM_SIZES,
    META,
    OBJECT,
    UNINITIALIZED,
    Location,
    Structure,
    TensorSpec,
)
from pytest_ckpt_compat._definition.contents import Maker
from pytest_ckpt_compat._definition.distributed import read_distributed
from pytest_ckpt_compat._definition.empty import empty
from pytest_ckpt_compat._readers.formats.dcp import FORMAT as DISTRIBUTED

if TYPE_CHECKING:
    import torch


#: Bytes of the widest element: where each begins at a multiple of them, a file can be used as it is.
_ALIGNMENT = 16


def read_weights(structure: Structure) -> dict[str, Any]:
    """Reads every entry of a structure with its real numbers. Keys that shared a tensor share it again.

    The files are mapped privately into memory, as ``torch.load(mmap=True)`` does: the system reads
    pages on use, and writing to a tensor does not change the file.

    Raises:
        ReadError: a tensor's numbers are not in a file on this machine, or the file is now shorter.
    """
    if structure.source.format == DISTRIBUTED:
        return read_distributed(structure)
    values = (*structure.locations.values(), *structure.contents.values(), *structure.objects.values())
    files = Files(values)
    maker = Maker(structure.source.path, files)
    read: dict[tuple[Location, TensorSpec], torch.Tensor] = {}
    state: dict[str, Any] = {}
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT:
            state[key] = maker.value(structure.objects.get(key))
            continue
        content = structure.contents.get(key)
        if content is not None and (content.readable or subclass_of(spec.dtype)):
            state[key] = maker.value(content)
            continue
        if spec.dtype == UNINITIALIZED or spec.dtype.startswith(META):
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
    separate(state, structure)
    return state


def separate(state: dict[str, Any], structure: Structure) -> None:
    """Gives aliases tensors of their own that share all their numbers, but for those that are one object.

    A hook may ask whether tied weights are one object. torch loads what ``state_dict()`` gave as several.
    """
    import torch

    first = {key: group[0] for group in structure.identical for key in group}
    for group in structure.aliases:
        made: dict[str, Any] = {}
        for key in group:
            value, name = state[key], first.get(key, key)
            if type(value) is torch.Tensor:
                state[key] = made.setdefault(name, value.detach() if made else value)


def is_readable(structure: Structure, budget: int | None = None) -> bool:
    """Whether the numbers of every tensor can be read.

    Args:
        structure: the checkpoint.
        budget: bytes that they may take in memory, where the file cannot be mapped; None for any.
    """
    copied = structure.source.format == DISTRIBUTED and budget is not None
    if copied and sum(spec.nbytes for spec in structure.tensors.values()) > (budget or 0):
        return False
    readable = {key for key, content in structure.contents.items() if content.readable}
    numbers = {
        key
        for key, spec in structure.tensors.items()
        if spec.dtype not in (OBJECT, UNINITIALIZED) and not spec.dtype.startswith(META)
    }
    return numbers <= structure.locations.keys() | readable


def files_of(objects: Mapping[str, Any]) -> Files | None:
    """The files of the tensors inside objects; None if there are none."""
    files = Files(objects.values())
    return files if files.known else None


class Files:
    """The files that hold tensors' data, each mapped into memory once.

    Args:
        values: locations, contents, and collections of them.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        from pytest_ckpt_compat._readers import record_offsets

        records: dict[str, set[str]] = {}
        for location in _locations(values):
            records.setdefault(location.file, set()).add(location.record)
        self.known = bool(records)
        self._starts = {file: record_offsets(file, names) for file, names in records.items()}
        self._storages = {file: _map(file) for file in records}
        self._shared: dict[tuple[str, int, int], torch.UntypedStorage] = {}

    def tensor(self, location: Location, spec: TensorSpec) -> torch.Tensor:
        """Returns the tensor at a location: a view of the file if it is aligned, else a copy."""
        import torch

        dtype: torch.dtype = getattr(torch, spec.dtype)
        if not spec.numel:
            return torch.empty(spec.shape, dtype=dtype)
        storage, start = self._whole(location), 0
        if storage is None:
            storage = self.storage(location, spec)
        elif location.storage is not None:
            start = (location.offset - location.storage[0]) // dtype.itemsize
        return torch.empty(0, dtype=dtype).set_(storage, start, spec.shape, location.stride)

    def _whole(self, location: Location) -> torch.UntypedStorage | None:
        """Returns the storage that torch loads, once for all tensors in it; None if that is not known."""
        if location.storage is None:
            return None
        start, length = location.storage
        begin = self._starts[location.file][location.record] + start
        known = location.file, begin, length
        if known not in self._shared:
            whole: Any = self._storages[location.file]
            if begin + length > whole.nbytes():
                return None
            part = whole[begin : begin + length]
            self._shared[known] = part.clone() if begin % _ALIGNMENT else part
        return self._shared[known]

    def storage(self, location: Location, spec: TensorSpec) -> torch.UntypedStorage:
        """Returns the bytes of a tensor at a location, from its first element to its last."""
        item = ITEM_SIZES[spec.dtype]
        whole = self._storages[location.file]
        begin = self._starts[location.file][location.record] + location.offset
        steps = zip(spec.shape, location.stride, strict=True)
        end = begin + math.ceil((sum((size - 1) * step for size, step in steps) + 1) * item)
        if end > whole.nbytes():
            raise ReadError(location.file, "is shorter than its own directory says", "copy the file again")
        storage: Any = whole[begin:end]
        aligned = begin % max(1, int(item)) == 0
        return storage if aligned else storage.clone()  # type: ignore[no-any-return]


def _locations(values: Iterable[Any]) -> Iterator[Location]:
    """Finds every location in contents and collections of them, each value visited once."""
    pending, seen = list(values), set()
    while pending:
        value = pending.pop()
        if isinstance(value, Location):
            yield value
        elif isinstance(value, (Content, tuple, list, dict)) and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, Content):
                pending += [value.location, *value.parts.values()]
            else:
                pending += value.values() if isinstance(value, dict) else value


def _map(path: str) -> torch.UntypedStorage:
    import os

    import torch

    try:
        storage: Any = torch.UntypedStorage.from_file(path, False, os.path.getsize(path))
    except (OSError, RuntimeError, UnicodeError) as error:  # torch takes no name that is not UTF-8
        raise ReadError(path, f"cannot be mapped into memory ({error})", "check the file") from error
    return storage  # type: ignore[no-any-return]
