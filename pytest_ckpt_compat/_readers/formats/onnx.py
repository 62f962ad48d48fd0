"""ONNX models: the names, types and dimensions of the weights in the protobuf.

Written after ``onnx.proto`` of ONNX 1.23 (messages ModelProto, GraphProto, NodeProto, AttributeProto,
TensorProto). Weights are initializers, and the tensors of ``Constant`` nodes that can be weights, also in the
bodies of ``If``, ``Loop`` and ``Scan``. Each field has a known length, so their data is skipped. Files of
external data are never opened.
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
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
#: Fields of NodeProto, and of AttributeProto.
_OUTPUT, _OPERATOR, _ATTRIBUTE = 2, 4, 5
_ATTRIBUTE_NAME, _TENSOR, _BODY, _SPARSE_TENSOR = 1, 5, 6, 22
#: Nodes that hold tensors or graphs, and how their operators stand in the bytes of a node.
_HOLDERS = (b"Constant", b"If", b"Loop", b"Scan")
_MARKS = tuple(bytes((_OPERATOR << 3 | _BYTES, len(name))) + name for name in _HOLDERS)
#: Bytes of a node up to which it is first looked at as a whole.
_SMALL_NODE = 4096
#: dtypes of constants that are shapes, axes and texts rather than weights.
_NO_WEIGHTS = frozenset({"int32", "int64", "bool", "string"})
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
    graphs = 0
    for number, kind, begin, size in walk.fields(0, blob.size):
        if _MODEL.get(number) != kind:
            raise damaged(f"its field at byte {begin:,} is not one of an ONNX model")
        if number == _GRAPH:
            graphs += 1
            walk.graph(begin, size)
    if graphs != 1:
        raise damaged(f"it has {graphs} graphs instead of one")
    if not walk.tensors:
        raise no_tensors()
    return Structure(walk.tensors, source=Source(blob.path, FORMAT), locations=walk.locations)


class _Walk:
    """A walk over the fields of messages, which counts them, and keeps the weights.

    Attributes:
        tensors: name -> spec.
        locations: name -> where its data lies.
    """

    def __init__(self, blob: Blob) -> None:
        self.tensors: dict[str, TensorSpec] = {}
        self.locations: dict[str, Location] = {}
        self._blob = blob
        self._cursor = Cursor(blob)
        self._fields = 0
        self._room = limits.CHARACTERS

    def fields(self, begin: int, size: int) -> Iterator[tuple[int, int, int, int]]:
        """Yields number, wire type, offset and size of each field; for a varint, its value as the size.

        The caller may move the cursor: each step first returns to the end of the last field.
        """
        end = begin + size
        position = begin
        while position < end:
            self._fields += 1
            if self._fields > limits.ONNX_FIELDS:
                raise over_limit("fields", limits.ONNX_FIELDS)
            cursor = self._at(position)
            tag = cursor.varint()
            number, kind = tag >> 3, tag & 7
            value = cursor.varint() if kind in (_VARINT, _BYTES) else 0
            start = cursor.position
            length = {_BYTES: value, _LONG: 8, _SHORT: 4, _VARINT: 0}.get(kind, -1)
            position = start + length
            if length < 0 or position > end or not number:
                raise damaged(f"its field at byte {start:,} does not fit in its message")
            yield number, kind, start, value if kind == _VARINT else length

    def _at(self, position: int) -> Cursor:
        """The cursor, moved to a position; one that goes forward keeps what it has read."""
        if position < self._cursor.position:
            self._cursor = Cursor(self._blob, position)
        self._cursor.skip(position - self._cursor.position)
        return self._cursor

    def graph(self, begin: int, size: int, path: str = "", depth: int = 0) -> None:
        """Adds the weights of a graph, and of the graphs in it.

        Args:
            begin: offset of the graph.
            size: its bytes.
            path: names of the node and the attribute that it is the body of, each with a slash.
            depth: number of graphs around it.
        """
        if depth > limits.DEPTH:
            raise over_limit("graphs inside each other", limits.DEPTH)
        own: set[str] = set()
        for number, kind, start, length in self.fields(begin, size):
            if kind != _BYTES:
                continue
            if number == _NODE and self._may_hold(start, length):
                self._node(start, length, path, depth, own)
            elif number == _INITIALIZER:
                self._add(*self._tensor(start, length), path, own)
            elif number == _SPARSE:
                self._add(*self._sparse(start, length), path, own)

    def _may_hold(self, begin: int, size: int) -> bool:
        """Whether a node may hold tensors or graphs; most do not, and are passed over at once."""
        if size > _SMALL_NODE:
            return True
        node = self._blob.read_at(begin, size)
        return any(mark in node for mark in _MARKS)

    def _node(self, begin: int, size: int, path: str, depth: int, own: set[str]) -> None:
        """Adds the tensor of a Constant, or the weights in the bodies of another node."""
        output = operator = ""
        attributes = []
        for number, kind, start, length in self.fields(begin, size):
            if kind == _BYTES and number == _OUTPUT:
                output = output or self._text(start, length)
            elif kind == _BYTES and number == _OPERATOR:
                operator = self._text(start, length)
            elif kind == _BYTES and number == _ATTRIBUTE:
                attributes.append((start, length))
        if operator.encode() not in _HOLDERS:
            return
        for attribute in attributes:
            self._attribute(*attribute, output, path, depth, own)

    def _attribute(self, begin: int, size: int, output: str, path: str, depth: int, own: set[str]) -> None:
        """Adds the tensor of a Constant with this output, or the weights in a body."""
        name = ""
        for number, kind, start, length in self.fields(begin, size):
            if kind != _BYTES:
                continue
            if number == _ATTRIBUTE_NAME:
                name = self._text(start, length)
            elif number == _BODY:
                self.graph(start, length, f"{path}{output}/{name}/", depth + 1)
            elif number in (_TENSOR, _SPARSE_TENSOR):
                read = self._tensor if number == _TENSOR else self._sparse
                found = read(start, length, output)
                if found[1].shape and found[1].dtype not in _NO_WEIGHTS:
                    self._add(*found, path, own)

    def _add(self, name: str, spec: TensorSpec, offset: int | None, path: str, own: set[str]) -> None:
        """Adds a weight. If another body has one of its name, it is given the path of its own."""
        if name in own:
            raise damaged(f"it has two initializers named {name!r}")
        own.add(name)
        key = path + name if name in self.tensors else name
        if key in self.tensors:
            raise damaged(f"it has two initializers named {name!r}")
        if len(self.tensors) >= limits.KEYS:
            raise over_limit("tensors", limits.KEYS)
        self.tensors[key] = spec
        if offset is not None and self._blob.locatable:
            self.locations[key] = Location(self._blob.path, "", offset, contiguous(spec.shape))

    def _sparse(self, begin: int, size: int, output: str = "") -> tuple[str, TensorSpec, None]:
        """Reads a SparseTensorProto: values (which carry the name), indices, dims."""
        name, dtype, dims = "", "", []
        for number, kind, start, length in self.fields(begin, size):
            if number == 1 and kind == _BYTES:
                name, spec, _ = self._tensor(start, length, output)
                dtype = spec.dtype
            elif number == 3:
                dims += self._numbers(kind, start, length)
        if not dtype:
            raise damaged("it has a sparse initializer without values")
        return name, TensorSpec(dtype, shape(dims)), None

    def _tensor(self, begin: int, size: int, output: str = "") -> tuple[str, TensorSpec, int | None]:
        """Reads a TensorProto: its name, its spec, and the offset of its data where a load can use it.

        Args:
            begin: its offset.
            size: its bytes.
            output: the output of the Constant that it is the value of, whose name it takes.
        """
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
        name, code = output or facts.get(_NAME, ""), facts.get(_TYPE, 0)
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
        cursor, found = self._at(start), []
        while cursor.position < start + value:
            found.append(cursor.varint())
        if cursor.position != start + value:
            raise damaged("it has dimensions that do not fit in their field")
        return found

    def _text(self, start: int, size: int) -> str:
        if size > limits.TEXT_BYTES:
            raise over_limit("bytes in a name", limits.TEXT_BYTES)
        self._room -= size
        if self._room < 0:
            raise over_limit("bytes in its names", limits.CHARACTERS)
        try:
            return self._at(start).take(size).decode()
        except UnicodeDecodeError:
            raise damaged("it has a name that is not UTF-8") from None
