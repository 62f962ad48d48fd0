"""ONNX: agreement with the library, and walks that lead nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._readers import limits, read
from pytest_ckpt_compat._readers.source import files


def varint(number: int) -> bytes:
    result = b""
    while number > 0x7F:
        result += bytes([number & 0x7F | 0x80])
        number >>= 7
    return result + bytes([number])


def part(number: int, content: bytes | int) -> bytes:
    """A field of protobuf."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(*fields: bytes, name: bytes = b"w", dims: bytes = part(1, 2), kind: int = 1) -> bytes:
    return dims + part(2, kind) + part(8, name) + b"".join(fields)


RAW = part(9, bytes(8))


def model(*tensors: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    graph = part(2, b"graph") + b"".join(part(5, one) for one in tensors)
    return part(1, 10) + part(2, b"by hand") + before + part(7, graph) + after + part(8, part(2, 21))


@pytest.fixture
def onnx() -> Any:
    return pytest.importorskip("onnx", reason="writes the models")


def initializers(onnx: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    arrays = {
        "conv.weight": rng.random((4, 3, 3, 3), np.float32),
        "half": np.ones((2, 2), np.float16),
        "index": np.arange(3),
        "flag": np.array([True]),
        "scalar": np.array(2.0),
        "empty": np.ones((0, 3), np.float32),
        "phase": np.ones(2, np.complex64),
    }
    made = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    types = onnx.TensorProto
    made.append(onnx.helper.make_tensor("brief", types.BFLOAT16, [2], [1.0, 2.0]))
    made.append(onnx.helper.make_tensor("tiny", types.FLOAT8E4M3FN, [2], [1.0, 2.0]))
    made.append(onnx.helper.make_tensor("nibbles", types.INT4, [3], [1, 2, 3]))
    made.append(onnx.helper.make_tensor("words", types.STRING, [1], ["x"]))
    made.append(onnx.helper.make_tensor("listed", types.FLOAT, [2], [1.0, 2.0]))
    return made


def save(onnx: Any, path: Path, **options: Any) -> Any:
    """A model with a node, an input and every kind of initializer."""
    helper = onnx.helper
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "net", ends[:1], ends[1:], initializers(onnx))
    values = onnx.TensorProto(dims=[1], data_type=1, name="sparse", float_data=[2.0])
    graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=values, indices=onnx.TensorProto(dims=[1], data_type=7), dims=[4, 5])
    )
    made = helper.make_model(graph)
    onnx.save_model(made, path, **options)
    return made


#: The names of torch where they differ from those of ONNX in lower case.
NAMES = {
    "float": "float32",
    "double": "float64",
    "float8e4m3fn": "float8_e4m3fn",
}


def test_agrees_with_the_library(tmp_path: Path, onnx: Any) -> None:
    path = tmp_path / "net.onnx"
    save(onnx, path)
    structure = read(path)
    loaded = onnx.load(path).graph.initializer
    kinds = onnx.TensorProto.DataType
    specs = {
        one.name: TensorSpec(NAMES.get(name := kinds.Name(one.data_type).lower(), name), tuple(one.dims))
        for one in loaded
    }
    assert structure.tensors == {**specs, "sparse": TensorSpec("float32", (4, 5))}
    assert list(structure.tensors) == [*specs, "sparse"]
    assert structure.source.format == "ONNX"
    content = path.read_bytes()
    by_name = {one.name: one for one in loaded}
    assert {"conv.weight", "half", "index"} <= set(structure.locations)
    for key, location in structure.locations.items():
        raw = by_name[key].raw_data
        assert content[location.offset :][: len(raw)] == raw
        assert len(raw) == structure.tensors[key].nbytes


def test_external_data_are_not_opened(tmp_path: Path, onnx: Any) -> None:
    path = tmp_path / "net.onnx"
    save(onnx, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    whole = read(path)
    (tmp_path / "w.bin").unlink()
    structure = read(path)
    assert structure.tensors == whole.tensors
    assert "conv.weight" not in structure.locations


def test_weights_are_stepped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    data = bytes(4_000_000)
    path.write_bytes(
        model(*(tensor(part(9, data), name=b"w%d" % i, dims=part(1, 1_000_000)) for i in range(8)))
    )
    taken = 0
    original = files.Blob.read_at

    def counted(self: files.Blob, offset: int, size: int) -> bytes:
        nonlocal taken
        taken += size
        return original(self, offset, size)

    monkeypatch.setattr(files.Blob, "read_at", counted)
    assert len(read(path).tensors) == 8
    assert taken < 20_000


def test_dimensions_may_be_packed(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model(tensor(RAW, dims=part(1, b"\x01\x02"))))
    assert read(path).tensors == {"w": TensorSpec("float32", (1, 2))}


W = tensor(RAW)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (model(), "no state_dict"),
        (model(W, W), "two initializers named 'w'"),
        (model(tensor(RAW, name=b"")), "without a name"),
        (model(tensor(RAW, name=b"\xff")), "not UTF-8"),
        (model(tensor(RAW, name=b"x" * 100_000)), "bytes in a name"),
        (model(tensor(RAW, kind=99)), "unknown type 99"),
        (model(tensor(part(9, bytes(7)))), "number of bytes of"),
        (model(tensor(RAW, dims=part(1, (1 << 64) - 2))), "64-bit sizes"),
        (model(tensor(RAW, dims=part(1, 1 << 62) * 2)), "more elements than 64 bits can count"),
        (model(tensor(RAW, dims=part(1, 1) * 100)), "64 dimensions"),
        (model(tensor(RAW, dims=part(1, b"\x01" * 1000))), "64 dimensions"),
        (model(tensor(RAW, dims=part(1, b"\x01\x80"))), "do not fit|breaks|does not fit|another number"),
        (model(W, after=part(7, b"")), "2 graphs"),
        (part(1, 10) + part(2, b"x"), "0 graphs"),
        (model(W, after=part(99, 1)), "not one of an ONNX model"),
        (model(W, after=part(2, 1)), "not one of an ONNX model"),
        (model(W, after=b"\x0b"), "does not fit in its message"),
        (model(W)[:-1], "does not fit in its message"),
        (model(W)[:-3], "before the data it announces"),
        (part(1, 10) + b"\x12" + b"\xff" * 20, "an unterminated number"),
        (part(1, 10) + b"\x3a" + varint((1 << 64) - 1), "does not fit in its message"),
        (model(part(5, b"")), "without a name"),
        (part(1, 10) + part(7, part(15, part(3, 4))), "without values"),
    ],
)
def test_models_that_lie(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model(W))
    assert read(path).tensors
    path.write_bytes(content)
    with pytest.raises(ReadError, match=problem):
        read(path)


def test_fields_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ONNX_FIELDS", 10)
    (tmp_path / "net.onnx").write_bytes(model(W, W, W, W))
    with pytest.raises(ReadError, match="more than 10 fields"):
        read(tmp_path / "net.onnx")


def test_has_no_containers(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model(W))
    with pytest.raises(ReadError, match="leave key out"):
        read(tmp_path / "net.onnx", key="model")
