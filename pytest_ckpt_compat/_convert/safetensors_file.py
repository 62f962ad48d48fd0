"""Writes safetensors files, one tensor at a time, whole or in shards."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from pytest_ckpt_compat._convert.memory import pieces
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.structure import ITEM_SIZES, TensorSpec
from pytest_ckpt_compat._readers.formats.safetensors import DTYPES

#: Bytes of one shard, as in transformers.
SHARD = 5_000_000_000
_ALIGNMENT = 8
_NAMES: Mapping[str, str] = {dtype: name for name, dtype in DTYPES.items() if name != "F4"}


def require_storable(specs: Mapping[str, TensorSpec], path: str) -> None:
    """Raises UsageError for an entry that safetensors cannot hold."""
    for key, spec in specs.items():
        if spec.dtype not in _NAMES:
            raise UsageError(path, f"cannot hold {key} ({spec})", "write a .pt file")


def write(
    specs: Mapping[str, TensorSpec],
    metadata: Mapping[str, str],
    stream: IO[bytes],
    data: Callable[[str], Any],
    written: Callable[[Any], None],
) -> dict[str, int]:
    """Writes tensors, and returns the checksum of each.

    Args:
        specs: key -> spec, in the order of the file.
        metadata: what the header says besides.
        stream: where to.
        data: gives the tensor of a key, contiguous and alone in its storage; asked for each once.
        written: called with each storage that was written.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    # The widest elements first, so that each tensor begins at a multiple of its own.
    order = sorted(specs, key=lambda key: -ITEM_SIZES[specs[key].dtype])
    places: dict[str, list[int]] = {}
    position = 0
    for key in order:
        places[key] = [position, position := position + nbytes(specs[key])]
    for key, spec in specs.items():
        header[key] = {"dtype": _NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": places[key]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    stream.write(len(text).to_bytes(8, "little") + text)
    sums: dict[str, int] = {}
    for key in order:
        storage = data(key).untyped_storage()
        checksum = 0
        for piece in pieces(storage):
            stream.write(piece)
            checksum = zlib.crc32(piece, checksum)
        sums[key] = checksum
        written(storage)
        del storage  # before the next is made
    return sums


def nbytes(spec: TensorSpec) -> int:
    """Bytes of a tensor."""
    return math.ceil(math.prod(spec.shape) * ITEM_SIZES[spec.dtype])


def shards(specs: Mapping[str, TensorSpec], limit: int = SHARD) -> list[dict[str, TensorSpec]]:
    """Divides tensors, in order, so that no shard has more bytes than a limit, unless it is one tensor."""
    found: list[dict[str, TensorSpec]] = [{}]
    size = 0
    for key, spec in specs.items():
        if found[-1] and size + nbytes(spec) > limit:
            found.append({})
            size = 0
        found[-1][key] = spec
        size += nbytes(spec)
    return found


def shard_names(stem: str, number: int) -> Sequence[str]:
    """``model-00001-of-00003.safetensors``."""
    return [f"{stem}-{index:05}-of-{number:05}.safetensors" for index in range(1, number + 1)]


def index_text(names: Sequence[str], parts: Sequence[Mapping[str, TensorSpec]]) -> str:
    """The index of shards."""
    total = sum(nbytes(spec) for part in parts for spec in part.values())
    mapping = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": mapping}, indent=2) + "\n"
