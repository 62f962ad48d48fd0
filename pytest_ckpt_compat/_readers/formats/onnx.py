"""ONNX models: the names, types and dimensions of the initializers in the protobuf.

Written after ``onnx.proto`` of ONNX 1.23 (messages ModelProto, GraphProto, TensorProto). Each field
has a known length, so weights are skipped. Files of external data are never opened. Initializers
inside the bodies of ``If`` and ``Loop`` are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pytest_ckpt_compat._core.structure import ITEM_SIZES, Location, Source, Structure, TensorSpec
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import damaged, over_limit
from pytest_ckpt_compat._readers.shapes import contiguous, shape
from pytest_ckpt_compat._readers.source.cursor import Cursor
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.state_dict.containers import require_top
from pytest_ckpt_compat._readers.state_dict.nothing import no_tensors

FORMAT = "ONNX"
_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5
#: Number of a field of ModelProto -> its wire type.
_MODEL = MappingProxyType({1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2})
_IR_VERSION, _PRODUCER, _GRAPH, _METADATA = 1, 2, 7, 14
_INITIALIZER, _SPARSE = 5, 15
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL, _WHERE = 1, 2, 8, 9, 13, 14
#: TensorProto.DataType -> dtype.
_DTYPES: Mapping[int, str] = MappingProxyType(
    {
        **dict(enumerate(("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string"), 1)),
        **dict(enumerate(("bool", "float16", "float64", "uint32", "uint64", "complex64"), 9)),
        **dict(enumerate(("complex128", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz"), 15)),
        **dict(enumerate(("float8_e5m2", "float8_e5m2fnuz", "uint4", "int4", "float4_e2m1"), 19)),
        **dict(enumerate(("float8_e8m0fnu", "uint2", "int2"), 24)),
    }
)


def looks_like(head: bytes) -> bool:
    """Whether a file begins with a small ``ir_version``, then another field of ModelProto."""
    return (
        len(head) > 3
        and head[0] == _IR_VERSION << 3
        and 0 < head[1] < 32
        and _MODEL.get(head[2] >> 3) == head[2] & 7
        and head[2] >> 3 != _IR_VERSION
    )


def read_onnx(blob: Blob, key: str | None) -> Structure:
    """Reads the structure of an ONNX model's initializers."""
    require_top(key)
    walk = _Walk(blob)
    tensors: dict[str, TensorSpec] = {}
    locations: dict[str, Location] = {}
    graphs = 0
    for number, kind, begin, size in walk.fields(0, blob.size):
        if _MODEL.get(number) != kind:
            raise damaged(f"its field at byte {begin:,} is not one of an ONNX model")
        if number == _GRAPH:
            graphs += 1
            walk.graph(begin, size, tensors, locations)
    if graphs != 1:
        raise damaged(f"it has {graphs} graphs instead of one")
    if not tensors:
        raise no_tensors()
    return Structure(tensors, source=Source(blob.path, FORMAT), locations=locations)


class _Walk:
    """A walk over the fields of messages, which counts them."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._cursor = Cursor(blob)
        self._fields = 0
        self._room = limits.CHARACTERS

    def fields(self, begin: int, size: int) -> Iterator[tuple[int, int, int, int]]:
        """Yields number, wire type, offset and size of each field; for a varint, its value as the size.

        The caller may move the cursor: each step first returns to the end of the last field.
        """
        cursor, end = self._cursor, begin + size
        position = begin
        while position < end:
            self._fields += 1
            if self._fields > limits.ONNX_FIELDS:
                raise over_limit("fields", limits.ONNX_FIELDS)
            cursor.skip(position - cursor.position)
            tag = cursor.varint()
            number, kind = tag >> 3, tag & 7
            value = cursor.varint() if kind in (_VARINT, _BYTES) else 0
            start = cursor.position
            length = {_BYTES: value, _LONG: 8, _SHORT: 4, _VARINT: 0}.get(kind, -1)
            position = start + length
            if length < 0 or position > end or not number:
                raise damaged(f"its field at byte {start:,} does not fit in its message")
            yield number, kind, start, value if kind == _VARINT else length

    def graph(
        self, begin: int, size: int, tensors: dict[str, TensorSpec], locations: dict[str, Location]
    ) -> None:
        """Adds the graph's initializers to ``tensors`` and ``locations``."""
        for number, kind, start, length in self.fields(begin, size):
            if kind != _BYTES or number not in (_INITIALIZER, _SPARSE):
                continue
            name, spec, offset = (
                self._sparse(start, length) if number == _SPARSE else self._tensor(start, length)
            )
            if name in tensors:
                raise damaged(f"it has two initializers named {name!r}")
            if len(tensors) >= limits.KEYS:
                raise over_limit("tensors", limits.KEYS)
            tensors[name] = spec
            if offset is not None and self._blob.locatable:
                locations[name] = Location(self._blob.path, "", offset, contiguous(spec.shape))

    def _sparse(self, begin: int, size: int) -> tuple[str, TensorSpec, None]:
        """Reads a SparseTensorProto: values (which carry the name), indices, dims."""
        name, dtype, dims = "", "", []
        for number, kind, start, length in self.fields(begin, size):
            if number == 1 and kind == _BYTES:
                name, spec, _ = self._tensor(start, length)
                dtype = spec.dtype
            elif number == 3:
                dims += self._numbers(kind, start, length)
        if not dtype:
            raise damaged("it has a sparse initializer without values")
        return name, TensorSpec(dtype, shape(dims)), None

    def _tensor(self, begin: int, size: int) -> tuple[str, TensorSpec, int | None]:
        """Reads the name and spec of a TensorProto, and the offset of its data where a load can use it."""
        dims: list[int] = []
        facts: dict[int, Any] = {}
        for number, kind, start, length in self.fields(begin, size):
            if number == _DIMS:
                dims += self._numbers(kind, start, length)
            elif number in (_TYPE, _WHERE) and kind == _VARINT:
                facts[number] = length
            elif number == _NAME and kind == _BYTES:
                facts[number] = self._text(start, length)
            elif number == _RAW and kind == _BYTES:
                facts[number] = start, length
        name, code = facts.get(_NAME, ""), facts.get(_TYPE, 0)
        if not name:
            raise damaged("it has an initializer without a name")
        if code not in _DTYPES:
            raise damaged(f"the initializer {name!r} has the unknown type {code}")
        spec = TensorSpec(_DTYPES[code], shape(dims))
        return name, spec, self._data_offset(name, spec, facts)

    def _data_offset(self, name: str, spec: TensorSpec, facts: dict[int, Any]) -> int | None:
        if facts.get(_WHERE, 0) or _RAW not in facts or spec.dtype not in ITEM_SIZES:
            return None
        start, length = facts[_RAW]
        if length != spec.nbytes:
            raise damaged(f"the number of bytes of {name!r} does not match its type and dimensions")
        return int(start)

    def _numbers(self, kind: int, start: int, value: int) -> list[int]:
        """Reads dimensions: one number, or a packed list of numbers."""
        if kind == _VARINT:
            return [value]
        if kind != _BYTES or value > 10 * limits.DIMENSIONS:
            raise over_limit("dimensions in a tensor", limits.DIMENSIONS)
        self._cursor.skip(start - self._cursor.position)
        found = []
        while self._cursor.position < start + value:
            found.append(self._cursor.varint())
        if self._cursor.position != start + value:
            raise damaged("it has dimensions that do not fit in their field")
        return found

    def _text(self, start: int, size: int) -> str:
        if size > limits.TEXT_BYTES:
            raise over_limit("bytes in a name", limits.TEXT_BYTES)
        self._room -= size
        if self._room < 0:
            raise over_limit("bytes in its names", limits.CHARACTERS)
        self._cursor.skip(start - self._cursor.position)
        try:
            return self._cursor.take(size).decode()
        except UnicodeDecodeError:
            raise damaged("it has a name that is not UTF-8") from None
