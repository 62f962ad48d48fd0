"""Rewrites a checkpoint under new keys, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._convert import safetensors_file, torch_file
from pytest_ckpt_compat._convert.contents import Contents
from pytest_ckpt_compat._convert.memory import Mapped, contiguous, pieces
from pytest_ckpt_compat._convert.opened import Opened
from pytest_ckpt_compat._core.errors import ReadError, UsageError
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._definition.weights import read_weights

#: Suffixes of files that ``torch.save`` writes, and of others.
TORCH = (".pt", ".pth", ".bin", ".ckpt")
SAFETENSORS = ".safetensors"
INDEX = ".safetensors.index.json"

#: Called with the bytes written so far, and those there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Converted:
    """A checkpoint that was written.

    Attributes:
        files: its files.
        tensors: how many tensors it has.
        notes: remarks, a line each.
    """

    files: tuple[str, ...]
    tensors: int
    notes: tuple[str, ...] = ()


def require_target(source: str, target: Path, in_place: bool) -> None:
    """Refuses a target that is the source, unless that is meant, or that is there already.

    Raises:
        UsageError: it is refused, or its suffix names no format.
    """
    if not target.name.endswith((*TORCH, SAFETENSORS, INDEX)):
        known = ", ".join((*TORCH, SAFETENSORS, INDEX))
        raise UsageError(str(target), "has no suffix of a format that is written", f"choose one of {known}")
    same = os.path.exists(source) and target.exists() and os.path.samefile(source, target)
    if same and not in_place:
        raise UsageError(str(target), "is the checkpoint itself", "choose another name, or pass --in-place")
    if target.exists() and not same:
        raise UsageError(str(target), "is there already", "choose another name, or remove it")
    if not target.parent.is_dir():
        raise UsageError(str(target), "is in a folder that is not there", "make the folder first")


def convert(source: Opened, contents: Contents, target: Path, progress: Progress) -> Converted:
    """Writes a checkpoint and reads it back.

    Args:
        source: the checkpoint.
        contents: what the new one holds.
        target: where to; the suffix says in which format.
        progress: is told how far it is.

    Raises:
        ReadError: what was written does not read back as it should; it is removed.
        UsageError: the format cannot hold it, or it cannot be written.
    """
    counter = _Counter(progress, sum(spec.nbytes for spec in contents.specs.values()), contents.mapped)
    try:
        if target.name.endswith(TORCH):
            with _whole(target) as (stream, temporary):
                torch_file.write(contents.whole, stream, contents.storage, counter)
                stream.flush()
                _check_torch(temporary, source, contents)
            return Converted((str(target),), len(contents.specs), contents.notes)
        return _as_safetensors(contents, target, counter)
    except OSError as error:
        raise UsageError(
            str(target), f"cannot be written ({error.strerror})", "make room, or check the folder"
        ) from error


class _Counter:
    """Counts what was written, and gives its memory back."""

    def __init__(self, progress: Progress, total: int, mapped: Mapped) -> None:
        self._progress, self._total, self._mapped, self._done = progress, total, mapped, 0

    def __call__(self, storage: Any) -> None:
        self._done += storage.nbytes()
        self._mapped.release(storage)
        self._progress(min(self._done, self._total), self._total)


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file that takes the place of the target if nothing is raised, and goes if something is."""
    temporary = target.with_name(f".ckpt-{os.urandom(8).hex()}.tmp")
    try:
        with temporary.open("x+b") as stream:
            yield stream, temporary
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _check_torch(path: Path, source: Opened, contents: Contents) -> None:
    """Reads a file back: each record by its checksum, and its structure."""
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise ReadError(str(path), f"its record {bad} reads back differently", "check the disk")
    _same(readers.read(path, source.structure.source.container or ""), contents, str(path))


def _same(found: Structure, contents: Contents, path: str) -> None:
    if dict(found.tensors) != dict(contents.specs):
        raise ReadError(path, "its tensors read back differently", "this is a bug, please report it")
    if set(map(frozenset, found.aliases)) != set(map(frozenset, contents.aliases)):
        raise ReadError(path, "its tied tensors read back differently", "this is a bug, please report it")


def _as_safetensors(contents: Contents, target: Path, counter: _Counter) -> Converted:
    safetensors_file.require_storable(contents.specs, str(target))
    parts: Sequence[Mapping[str, TensorSpec]] = [contents.specs]
    names = [target.name]
    if target.name.endswith(INDEX):
        parts = safetensors_file.shards(contents.specs)
        names = list(safetensors_file.shard_names(target.name.removesuffix(INDEX), len(parts)))
        there = next((name for name in names if (target.parent / name).exists()), None)
        if there is not None:
            raise UsageError(
                str(target.parent / there), "is there already", "choose another name, or remove it"
            )
    metadata = dict(contents.metadata) or {"format": "pt"}
    with contextlib.ExitStack() as stack:
        for name, part in zip(names, parts, strict=True):
            stream, temporary = stack.enter_context(_whole(target.parent / name))
            sums = safetensors_file.write(part, metadata, stream, contents.tensor, counter)
            stream.flush()
            _check_safetensors(temporary, part, sums)
        if target.name.endswith(INDEX):
            stream, _ = stack.enter_context(_whole(target))
            stream.write(safetensors_file.index_text(names, parts).encode())
    files = [str(target.parent / name) for name in names]
    notes = (*contents.notes, *contents.left_behind())
    return Converted(
        (*files, *([str(target)] if target.name.endswith(INDEX) else [])), len(contents.specs), notes
    )


def _check_safetensors(path: Path, specs: Mapping[str, TensorSpec], sums: Mapping[str, int]) -> None:
    """Reads a file back: the structure, and each tensor by its checksum."""
    found = readers.read(path)
    if dict(found.tensors) != dict(specs):
        raise ReadError(str(path), "its tensors read back differently", "this is a bug, please report it")
    state = read_weights(found)
    mapped = Mapped(state.values())
    for key, value in state.items():
        whole = contiguous(value, mapped).untyped_storage()
        checksum = 0
        for piece in pieces(whole):
            checksum = zlib.crc32(piece, checksum)
        mapped.release(value.untyped_storage())
        if checksum != sums[key]:
            raise ReadError(str(path), f"{key} reads back differently", "check the disk")
