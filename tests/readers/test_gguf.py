"""GGUF: agreement with the library, and headers that lie."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._readers import limits, read


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def fact(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def info(name: bytes = b"w", dims: tuple[int, ...] = (2,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def file(
    *infos: bytes, facts: tuple[bytes, ...] = (), version: int = 3, data: int = 8, counts: Any = None
) -> bytes:
    header = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(infos), len(facts))))
    content = header + b"".join(facts) + b"".join(infos)
    return content + bytes(-len(content) % 32 + data)


def test_agrees_with_the_library(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="writes the file")
    path = tmp_path / "net.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_array("tokenizer.ggml.tokens", [f"token {i}" for i in range(300)])
    writer.add_array("some.sizes", [1, 2, 3])
    writer.add_string("general.name", "net")
    rng = np.random.default_rng(0)
    writer.add_tensor("embed.weight", rng.random((6, 32), np.float32))
    writer.add_tensor("half.weight", np.ones((3, 4, 5), np.float16))
    writer.add_tensor("count", np.arange(3, dtype=np.int32))
    kinds = gguf.GGMLQuantizationType
    for kind in (kinds.Q4_0, kinds.Q8_0, kinds.Q5_1, kinds.TQ1_0, kinds.BF16):
        packed = gguf.quants.quantize(rng.random((2, 512), np.float32), kind)
        writer.add_tensor(f"{kind.name}.weight", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    structure = read(path)
    names = {"F32": "float32", "F16": "float16", "I32": "int32", "BF16": "bfloat16"}
    assert structure.tensors == {
        one.name: TensorSpec(
            names.get(one.tensor_type.name, one.tensor_type.name.lower()),
            tuple(int(size) for size in one.shape[::-1]),
        )
        for one in gguf.GGUFReader(path).tensors
    }
    assert structure.values["llama.block_count"] == 2
    assert structure.values["general.name"] == "net"
    assert structure.values["some.sizes"] == [1, 2, 3]
    assert structure.values["tokenizer.ggml.tokens"] is None
    content = path.read_bytes()
    assert set(structure.locations) == {"embed.weight", "half.weight", "count", "BF16.weight"}
    for one in gguf.GGUFReader(path).tensors:
        if one.name in structure.locations:
            raw = one.data.tobytes()
            assert content[structure.locations[one.name].offset :][: len(raw)] == raw


W = info()
HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"GGUF" + bytes(100), "version 0"),
        (file(W, version=1), "version 1"),
        (file(W, version=3 << 24), "big-endian"),
        (file(), "no state_dict"),
        (file(W, counts=(HUGE, 0)), "250,000 tensors"),
        (file(W, counts=(2, 0)), "ends at byte|without|not UTF-8|tensor|twice|limit"),
        (file(W, counts=(1, HUGE)), "."),
        (file(W, W), "two tensors named 'w'"),
        (file(info(b"\xff")), "not UTF-8"),
        (file(info(b"x" * 100_000)), "bytes in a name"),
        (file(info(dims=(1,) * 100)), "64 dimensions"),
        (file(info(dims=(1 << 63,))), "64-bit sizes"),
        (file(info(dims=(1 << 62, 1 << 62))), "more elements"),
        (file(info(dims=(3,))), "describes 12 bytes of data, but the file has 8"),
        (file(info(offset=32)), "describes"),
        (file(info(offset=4)), "a multiple of 32"),
        (file(info(dims=(33,), kind=2)), "do not divide into blocks"),
        (file(W, info(b"v")), "overlap"),
        (file(W, facts=(fact(b"a", 4, bytes(4)),) * 2), "two values named 'a'"),
        (file(W, facts=(fact(b"a", 99, bytes(4)),)), "unknown type 99"),
        (file(W, facts=(fact(b"general.alignment", 4, struct.pack("<I", 3)),)), "multiple of 8"),
        (file(W, facts=(fact(b"general.alignment", 8, text(b"8")),)), "multiple of 8"),
        (file(W, facts=(fact(b"a", 9, struct.pack("<IQ", 4, HUGE)),)), "ends at byte"),
        (file(W, facts=(fact(b"a", 9, struct.pack("<IQ", 8, HUGE)),)), "."),
        (file(W, facts=(fact(b"a", 8, struct.pack("<Q", HUGE)),)), "ends at byte"),
        (file(W, facts=(fact(b"a", 9, struct.pack("<IQ", 9, 1) * 5),)), "unknown type 9"),
    ],
)
def test_headers_that_lie(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "net.gguf"
    path.write_bytes(file(W))
    assert read(path).tensors == {"w": TensorSpec("float32", (2,))}
    path.write_bytes(content)
    with pytest.raises(ReadError, match=problem):
        read(path)


def test_types_of_the_future_have_no_size(tmp_path: Path) -> None:
    (tmp_path / "net.gguf").write_bytes(file(info(kind=77)))
    assert read(tmp_path / "net.gguf").tensors == {"w": TensorSpec("ggml_type_77", (2,))}


def test_values_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GGUF_VALUES", 10)
    tokens = fact(b"t", 9, struct.pack("<IQ", 8, 20) + text(b"x") * 20)
    (tmp_path / "net.gguf").write_bytes(file(W, facts=(tokens,)))
    with pytest.raises(ReadError, match="more than 10 values"):
        read(tmp_path / "net.gguf")
