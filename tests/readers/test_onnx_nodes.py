"""ONNX models whose weights are constants, or lie in the bodies of other nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._readers import limits, read
from tests.readers.test_onnx import part

onnx: Any = pytest.importorskip("onnx", reason="writes the models")
FLOAT = onnx.TensorProto.FLOAT


def weight(name: str, *shape: int, dtype: Any = np.float32) -> Any:
    return onnx.numpy_helper.from_array(np.ones(shape, dtype), name)


def constant(output: str, *shape: int, dtype: Any = np.float32) -> Any:
    return onnx.helper.make_node("Constant", [], [output], value=weight("", *shape, dtype=dtype))


def body(nodes: list[Any], name: str, initializers: list[Any] | None = None) -> Any:
    end = onnx.helper.make_tensor_value_info(name, FLOAT, None)
    return onnx.helper.make_graph(nodes, f"body of {name}", [], [end], initializers or [])


def save(path: Path, nodes: list[Any], initializers: list[Any] | None = None) -> None:
    value = onnx.helper.make_tensor_value_info
    start = [value("x", FLOAT, [1]), value("flag", onnx.TensorProto.BOOL, [])]
    graph = onnx.helper.make_graph(nodes, "net", start, [value("y", FLOAT, None)], initializers or [])
    made = onnx.helper.make_model(graph)
    onnx.save_model(made, path)


def branches(then: Any, otherwise: Any, output: str = "y") -> Any:
    return onnx.helper.make_node("If", ["flag"], [output], then_branch=then, else_branch=otherwise)


def test_constants_are_weights_unless_they_are_shapes(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    nodes = [
        constant("conv.weight", 4, 3),
        constant("half", 2, dtype=np.float16),
        constant("packed", 5, dtype=np.int8),
        constant("shape", 2, dtype=np.int64),
        constant("scale"),
        onnx.helper.make_node("Constant", [], ["flags"], value_ints=[1, 2]),
        onnx.helper.make_node("Relu", ["x"], ["y"]),
    ]
    save(path, nodes, [weight("bias", 4)])
    structure = read(path)
    assert structure.tensors == {
        "conv.weight": TensorSpec("float32", (4, 3)),
        "half": TensorSpec("float16", (2,)),
        "packed": TensorSpec("int8", (5,)),
        "bias": TensorSpec("float32", (4,)),
    }
    content = path.read_bytes()
    for key, location in structure.locations.items():
        dtype, shape = structure.tensors[key].dtype, structure.tensors[key].shape
        size = int(np.prod(shape))
        assert np.all(np.frombuffer(content, dtype, size, location.offset) == 1)
    assert structure.locations.keys() == structure.tensors.keys()


def test_bodies_of_if_and_loop(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    inner = branches(body([constant("deep", 7)], "deep"), body([constant("deeper", 8)], "deeper"), "inner")
    then = body([constant("a.weight", 2, 3), inner], "inner")
    otherwise = body([onnx.helper.make_node("Identity", ["b.weight"], ["b"])], "b", [weight("b.weight", 4)])
    value = onnx.helper.make_tensor_value_info
    loop = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["go"], ["on"]), constant("c.weight", 5)],
        "loop",
        [value("step", onnx.TensorProto.INT64, []), value("go", onnx.TensorProto.BOOL, [])],
        [value("on", onnx.TensorProto.BOOL, []), value("c.weight", FLOAT, [5])],
    )
    nodes = [branches(then, otherwise), onnx.helper.make_node("Loop", ["", "flag"], ["scan"], body=loop)]
    save(path, nodes)
    shapes = {key: spec.shape for key, spec in read(path).tensors.items()}
    assert shapes == {"a.weight": (2, 3), "deep": (7,), "deeper": (8,), "b.weight": (4,), "c.weight": (5,)}


def test_two_branches_with_one_name(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    save(path, [branches(body([constant("w", 2)], "w"), body([constant("w", 3)], "w"))])
    shapes = {key: spec.shape for key, spec in read(path).tensors.items()}
    assert shapes == {"w": (2,), "y/else_branch/w": (3,)} or shapes == {"w": (3,), "y/then_branch/w": (2,)}


def test_a_large_node_is_walked(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    nodes = [constant("big", 64, 64), onnx.helper.make_node("Relu", ["x"], ["y"])]
    nodes += [onnx.helper.make_node("Sum", ["x"] * 5_000, ["z"])]
    save(path, nodes)
    assert list(read(path).tensors) == ["big"]


def node(operator: bytes, *attributes: bytes, output: bytes = b"w") -> bytes:
    return part(1, part(2, output) + part(4, operator) + b"".join(part(5, each) for each in attributes))


def value(*dims: int) -> bytes:
    return part(1, b"value") + part(5, b"".join(part(1, size) for size in dims) + part(2, 1))


def graph(*nodes: bytes) -> bytes:
    return part(1, 10) + part(2, b"by hand") + part(7, b"".join(nodes)) + part(8, part(2, 21))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (graph(node(b"Constant", value(2)), node(b"Constant", value(3))), "two initializers named 'w'"),
        (graph(node(b"Constant", value(2), output=b"")), "without a name"),
        (graph(node(b"Relu", value(2))), "no state_dict"),
        (graph(node(b"Constant", b"\x2a\xff\x01")), "does not fit"),
        (graph(node(b"Constant", part(5, part(2, 99)))), "unknown type 99"),
    ],
)
def test_nodes_that_lie(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(graph(node(b"Constant", value(2))))
    assert list(read(path).tensors) == ["w"]
    path.write_bytes(content)
    with pytest.raises(ReadError, match=problem):
        read(path)


def test_graphs_inside_each_other_end(tmp_path: Path) -> None:
    inside = node(b"Constant", value(2))
    for _ in range(limits.DEPTH + 2):
        inside = node(b"If", part(1, b"then_branch") + part(6, inside))
    (tmp_path / "net.onnx").write_bytes(graph(inside))
    with pytest.raises(ReadError, match="graphs inside each other"):
        read(tmp_path / "net.onnx")
