"""safetensors files: the header's length in eight bytes, a JSON header, the tensors' data.

As strict as https://github.com/huggingface/safetensors (README, "Format" and "Benefits"), the
reference implementation.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import filterfalse
from types import MappingProxyType
from typing import Any

from pytest_ckpt_compat._core.structure import ITEM_SIZES, Location, Source, Structure, TensorSpec
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import Budget, RefusalError, damaged, over_limit
from pytest_ckpt_compat._readers.shapes import contiguous, shape
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.strict_json import parse_object
from pytest_ckpt_compat._readers.state_dict.containers import require_top

FORMAT = "safetensors"
_METADATA = "__metadata__"
_PREFIX = 8
_FIELDS = {"dtype", "shape", "data_offsets"}

#: dtype of safetensors -> dtype of torch. Other dtypes of safetensors have no counterpart in torch.
DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "I64": "int64",
        "I32": "int32",
        "I16": "int16",
        "I8": "int8",
        "U64": "uint64",
        "U32": "uint32",
        "U16": "uint16",
        "U8": "uint8",
        "BOOL": "bool",
        "C64": "complex64",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "F8_E4M3FNUZ": "float8_e4m3fnuz",
        "F8_E5M2FNUZ": "float8_e5m2fnuz",
        "F8_E8M0": "float8_e8m0fnu",
        "F4": "float4_e2m1fn_x2",
    }
)

#: The metadata with the place of each tensor in the whole one, a place that is not its start, and the name
#: of a part.
_SHARDING = "DCP_SHARDING_INFO"
_OFFSET = re.compile(r'"saved_offsets": ?\[[^\]]*[1-9]')
_PART = re.compile(r"shard-\d{5}-.*\.safetensors")


def looks_like(head: bytes, size: int) -> bool:
    """Whether a file begins like safetensors: a plausible header length, then ``{``."""
    return size > _PREFIX and head[_PREFIX : _PREFIX + 1] == b"{" and head[6:8] == b"\0\0"


def read_safetensors(blob: Blob, key: str | None, budget: Budget) -> Structure:
    """Reads the structure of a safetensors file from its header alone."""
    header, begin = _header(blob, budget)
    metadata = header.pop(_METADATA, {})
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise damaged("the metadata in its header are not a mapping of text to text")
    if len(header) > limits.KEYS:
        raise over_limit("tensors", limits.KEYS)
    if _SHARDING in metadata and (is_part(blob.path) or _OFFSET.search(metadata[_SHARDING])):
        raise unconsolidated("it is one part")
    require_top(key)
    _check_names(header)
    tensors: dict[str, TensorSpec] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        tensors[name], span = _tensor(name, entry)
        spans.append(span)
    _check_coverage(spans, blob.size - begin)
    at = zip(tensors.items(), spans, strict=True) if blob.locatable else ()
    starts = {name: begin + start for (name, spec), (start, _) in at if spec.dtype in ITEM_SIZES}
    return Structure(
        MappingProxyType(tensors),
        source=Source(blob.path, FORMAT),
        values=metadata,
        locations=MappingProxyType(_Locations(blob.path, starts, tensors)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Locations(Mapping[str, Location]):
    """The locations of the tensors of a file, each made when it is asked for: most readings ask for none.

    Attributes:
        path: of the file.
        starts: name -> offset of its data in the file.
        tensors: name -> spec.
    """

    path: str
    starts: Mapping[str, int]
    tensors: Mapping[str, TensorSpec]

    def __getitem__(self, name: str) -> Location:
        return Location(self.path, "", self.starts[name], contiguous(self.tensors[name].shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self.starts)

    def __len__(self) -> int:
        return len(self.starts)


def is_part(path: str) -> bool:
    """Whether a file is named as ``torch.distributed.checkpoint`` names the part of one rank."""
    return bool(_PART.match(path.replace("\\", "/").rpartition("/")[2]))


def unconsolidated(what: str) -> RefusalError:
    """Makes the refusal of files that hold parts of tensors, as ``HuggingFaceStorageWriter`` writes them."""
    return RefusalError(
        f"{what} of a distributed checkpoint in the format of Hugging Face that was not consolidated",
        "save it with HuggingFaceStorageWriter(path, save_distributed=True, enable_consolidation=True)",
    )


def _header(blob: Blob, budget: Budget) -> tuple[dict[str, Any], int]:
    """Returns the header, and where the tensors' data begin."""
    size = int.from_bytes(blob.read_at(0, _PREFIX), "little")
    if size > limits.SAFETENSORS_HEADER:
        raise over_limit("bytes in its header", limits.SAFETENSORS_HEADER)
    raw = blob.read_at(_PREFIX, size)
    budget.spend(len(raw) // 10)
    return parse_object(raw, "its header"), _PREFIX + size


def _check_names(header: Mapping[str, Any]) -> None:
    if max(map(len, header), default=0) > limits.KEY_LENGTH:
        raise over_limit("characters in a tensor name", limits.KEY_LENGTH)
    try:
        "".join(filterfalse(str.isascii, header)).encode()
    except UnicodeEncodeError as error:
        name = next(name for name in header if error.object[error.start] in name)
        raise damaged(f"the tensor name {name!r} is not valid Unicode") from None


def _tensor(name: str, entry: Any) -> tuple[TensorSpec, tuple[int, int]]:
    """Returns the spec of one header entry, and the start and end of its data."""
    if type(entry) is not dict or entry.keys() != _FIELDS:
        raise damaged(f"the header entry of {name!r} has other fields than dtype, shape and data_offsets")
    stored, lengths, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(stored) is not str or stored not in _BITS:
        shown = stored if type(stored) is str else type(stored).__name__
        raise damaged(f"{name!r} has the unknown dtype {shown!r}")
    try:
        spec, bits = _known(stored, *lengths) if type(lengths) is list else _made(stored, lengths)
    except TypeError:  # no cache can hold a list, and none is a length
        spec, bits = _made(stored, lengths)
    if type(offsets) is not list or len(offsets) != 2:
        raise damaged(f"the data_offsets of {name!r} are not two natural numbers")
    start, end = offsets
    if type(start) is not int or type(end) is not int or start < 0 or end < 0:
        raise damaged(f"the data_offsets of {name!r} are not two natural numbers")
    if (end - start) * 8 != bits:
        raise damaged(f"the number of bytes of {name!r} does not match its dtype and shape")
    return spec, (start, end)


@functools.lru_cache(maxsize=1024, typed=True)  # the layers of a model have the same few; true is not 1
def _known(stored: str, *lengths: Any) -> tuple[TensorSpec, int]:
    return _made(stored, lengths)


def _made(stored: str, lengths: Any) -> tuple[TensorSpec, int]:
    """Returns the spec of a tensor, and how many bits its data take."""
    sizes = shape(lengths)
    bits = math.prod(sizes) * _BITS[stored]
    if stored == "F4" and sizes:  # safetensors counts elements, torch counts pairs of them
        sizes = (*sizes[:-1], sizes[-1] // 2)
    return TensorSpec(DTYPES.get(stored, stored.lower()), sizes), bits


_BITS = {
    **{name: int(8 * ITEM_SIZES[dtype]) for name, dtype in DTYPES.items()},
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


def _check_coverage(spans: list[tuple[int, int]], size: int) -> None:
    """Refuses tensors that overlap, leave a gap, or do not fill the data exactly."""
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise damaged("its tensors overlap or leave gaps between them")
        position = end
    if position != size:
        raise damaged(f"its header describes {position:,} bytes of data, but the file has {size:,}")
