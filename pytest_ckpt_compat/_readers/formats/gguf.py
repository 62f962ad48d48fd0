"""GGUF files: a header with metadata and tensor descriptions, then the data.

Written after https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. GGUF
stores the innermost dimension of a shape first; structures have torch's order, outermost first.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pytest_ckpt_compat._core.structure import ITEM_SIZES, Location, Source, Structure, TensorSpec
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, damaged, over_limit
from pytest_ckpt_compat._readers.shapes import contiguous, shape
from pytest_ckpt_compat._readers.source.cursor import Cursor
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.state_dict.containers import require_top
from pytest_ckpt_compat._readers.state_dict.nothing import no_tensors

FORMAT = "GGUF"
MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_TEXT, _LIST = 8, 9
#: Number of a value's type -> its ``struct`` format.
_SCALARS: Mapping[int, str] = MappingProxyType(
    {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
)
#: Length above which lists are skipped (vocabularies).
_KEPT = 64
_ALIGNMENT = "general.alignment"

#: Number of a tensor's type -> name, elements in a block, bytes of a block (``ggml.c``).
_TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {
        0: ("float32", 1, 4), 1: ("float16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20),
        6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 9: ("q8_1", 32, 36),
        10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110), 12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176),
        14: ("q6_k", 256, 210), 15: ("q8_k", 256, 292), 16: ("iq2_xxs", 256, 66), 17: ("iq2_xs", 256, 74),
        18: ("iq3_xxs", 256, 98), 19: ("iq1_s", 256, 50), 20: ("iq4_nl", 32, 18), 21: ("iq3_s", 256, 110),
        22: ("iq2_s", 256, 82), 23: ("iq4_xs", 256, 136), 24: ("int8", 1, 1), 25: ("int16", 1, 2),
        26: ("int32", 1, 4), 27: ("int64", 1, 8), 28: ("float64", 1, 8), 29: ("iq1_m", 256, 56),
        30: ("bfloat16", 1, 2), 34: ("tq1_0", 256, 54), 35: ("tq2_0", 256, 66), 39: ("mxfp4", 32, 17),
        40: ("nvfp4", 64, 36), 41: ("q1_0", 128, 18),
    }
)  # fmt: skip


def read_gguf(blob: Blob, key: str | None) -> Structure:
    """Reads the structure of a GGUF file from its header alone."""
    require_top(key)
    header = _Header(blob)
    values = header.values()
    infos = header.tensors()
    alignment = values.get(_ALIGNMENT, 32)
    if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment % 8:
        raise damaged(f"its {_ALIGNMENT} is not a multiple of 8")
    begin = -(-header.position // alignment) * alignment
    tensors: dict[str, TensorSpec] = {}
    locations: dict[str, Location] = {}
    spans: list[tuple[int, int]] = []
    for name, lengths, kind, offset in infos:
        dtype, block, size = _TYPES.get(kind, (f"ggml_type_{kind}", 1, 0))
        if lengths and lengths[-1] % block:
            raise damaged(f"the rows of {name!r} do not divide into blocks of its type {dtype}")
        spans.append((offset, offset + math.prod(lengths) // block * size))
        if offset % alignment:
            raise damaged(f"the data of {name!r} do not begin at a multiple of {alignment} bytes")
        tensors[name] = TensorSpec(dtype, lengths)
        if blob.locatable and dtype in ITEM_SIZES:
            locations[name] = Location(blob.path, "", begin + offset, contiguous(lengths))
    _check_spans(spans, blob.size - begin)
    return Structure(tensors, source=Source(blob.path, FORMAT), values=values, locations=locations)


def _check_spans(spans: list[tuple[int, int]], size: int) -> None:
    """Refuses tensors that overlap or reach beyond the file."""
    position = 0
    for start, end in sorted(spans):
        if start < position:
            raise damaged("its tensors overlap")
        position = end
    if position > size:
        raise damaged(f"its header describes {position:,} bytes of data, but the file has {max(size, 0):,}")


class _Header:
    """The header. Read ``values()`` first, then ``tensors()``."""

    def __init__(self, blob: Blob) -> None:
        self._cursor = Cursor(blob, len(MAGIC))
        version = self._cursor.uint(4)
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "in big-endian order" if swapped in _VERSIONS else f"version {version}"
            raise RefusalError(f"it is GGUF {what}, which is unsupported", "convert it again with llama.cpp")
        self._tensors, self._values = self._cursor.uint(8), self._cursor.uint(8)
        self._read = 0
        self._room = limits.CHARACTERS
        if self._tensors > limits.KEYS:
            raise over_limit("tensors", limits.KEYS)
        if not self._tensors:
            raise no_tensors()

    @property
    def position(self) -> int:
        """The current offset: that of the header's end, once it is read."""
        return self._cursor.position

    def values(self) -> dict[str, Any]:
        """Reads the metadata by name. None stands for long lists and long texts."""
        result: dict[str, Any] = {}
        for _ in range(self._values):
            name = self._name()
            if name in result:
                raise damaged(f"its header has two values named {name!r}")
            result[name] = self._value(self._cursor.uint(4), 0)
        return result

    def tensors(self) -> list[tuple[str, tuple[int, ...], int, int]]:
        """Reads the name, shape, type number and offset of every tensor."""
        result = []
        names = set()
        for _ in range(self._tensors):
            name = self._name()
            if name in names:
                raise damaged(f"its header has two tensors named {name!r}")
            names.add(name)
            dimensions = self._cursor.uint(4)
            if dimensions > limits.DIMENSIONS:
                raise over_limit("dimensions in a tensor", limits.DIMENSIONS)
            lengths = shape([self._cursor.uint(8) for _ in range(dimensions)][::-1])
            result.append((name, lengths, self._cursor.uint(4), self._cursor.uint(8)))
        return result

    def _count(self, number: int, size: int = 0) -> None:
        self._read += number
        self._room -= size
        if self._room < 0:
            raise over_limit("bytes of text in its header", limits.CHARACTERS)
        if self._read > limits.GGUF_VALUES:
            raise over_limit("values in its header", limits.GGUF_VALUES)

    def _name(self) -> str:
        size = self._cursor.uint(8)
        if size > limits.TEXT_BYTES:
            raise over_limit("bytes in a name", limits.TEXT_BYTES)
        self._count(1, size)
        try:
            return self._cursor.take(size).decode()
        except UnicodeDecodeError:
            raise damaged("it has a name that is not UTF-8") from None

    def _value(self, kind: int, depth: int) -> Any:
        self._count(1)
        if kind in _SCALARS:
            code = "<" + _SCALARS[kind]
            return struct.unpack(code, self._cursor.take(struct.calcsize(code)))[0]
        if kind == _TEXT:
            size = self._cursor.uint(8)
            if size <= limits.TEXT_BYTES:
                self._count(0, size)
                return self._cursor.take(size).decode("utf-8", "replace")
            self._cursor.skip(size)
            return None
        if kind != _LIST or depth > 1:
            raise damaged(f"it has a value of the unknown type {kind}")
        return self._list(depth)

    def _list(self, depth: int) -> list[Any] | None:
        kind, length = self._cursor.uint(4), self._cursor.uint(8)
        if kind in _SCALARS and length > _KEPT:
            self._cursor.skip(length * struct.calcsize("<" + _SCALARS[kind]))
            return None
        kept = []
        for index in range(length):
            value = self._value(kind, depth + 1)
            if index <= _KEPT:
                kept.append(value)
        return kept if length <= _KEPT else None
