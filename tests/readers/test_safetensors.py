"""safetensors files: agreement with the library, and everything its format forbids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._readers import read
from tests.counting import calls
from tests.readers.agreement import newer_dtypes

W = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
RAW = json.dumps(W).encode()


def write(path: Path, header: Any, data: bytes = b"\0" * 8) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def test_agrees_with_the_library(tmp_path: Path) -> None:
    dtypes = [
        torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16,
        torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
        torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, *newer_dtypes(),
    ]  # fmt: skip
    raw = torch.arange(32, dtype=torch.uint8).reshape(2, 16)
    tensors = {str(d): (raw % 2).bool() if d == torch.bool else raw.clone().view(d) for d in dtypes}
    tensors |= {"scalar": torch.tensor(2.0), "empty": torch.empty(3, 0, 2)}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    structure = read(tmp_path / "m.safetensors")
    loaded = load_file(tmp_path / "m.safetensors")
    assert structure.tensors == {
        key: TensorSpec(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for key, tensor in loaded.items()
    }
    assert structure.versions is None
    assert structure.values == {"format": "pt"}
    content = (tmp_path / "m.safetensors").read_bytes()
    for key, tensor in loaded.items():
        location = structure.locations[key]
        assert location.record == ""
        assert location.stride == tensor.stride() or not tensor.numel()
        expected = bytes(tensor.reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else b""
        assert content[location.offset :][: len(expected)] == expected


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b'{"w":%b,"w":%b}' % (RAW, RAW), 8),
        (b'{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
        ({"w": {**W, "shape": [2.0]}}, 8),
        ({"w": {**W, "shape": [True, 2]}}, 8),
        ({"w": {**W, "shape": [1, 2]}, "v": {**W, "shape": [True, 2], "data_offsets": [8, 16]}}, 16),
        ({"w": W, "v": {**W, "shape": [[2]], "data_offsets": [8, 16]}}, 16),
        ({"w": {**W, "shape": {}, "data_offsets": [0, 4]}}, 4),
        ({"w": {**W, "shape": [-2]}}, 8),
        ({"w": {**W, "shape": [float("nan")]}}, 8),
        ({"w": {**W, "shape": [1 << 62, 1 << 62]}}, 8),
        ({"w": {**W, "shape": "2"}}, 8),
        ({"w": {**W, "shape": [1] * 100}}, 8),
        ({"w": {**W, "dtype": "F99"}}, 8),
        ({"w": {**W, "dtype": ["F32"]}}, 8),
        ({"w": {**W, "data_offsets": [8, 0]}}, 8),
        ({"w": {**W, "data_offsets": [0, 4]}}, 8),
        ({"w": {**W, "data_offsets": [0]}}, 8),
        ({"w": {**W, "data_offsets": [-8, 0]}}, 8),
        ({"w": {**W, "data_offsets": [4, 12]}}, 12),
        ({"w": {**W, "more": 1}}, 8),
        ({"w": {"dtype": "F32"}}, 8),
        ({"w": W, "v": W}, 8),
        ({"w": W, "v": {**W, "data_offsets": [12, 20]}}, 20),
        ({"w": W}, 7),
        ({"w": W}, 9),
        ({"w": 3}, 8),
        ({"w": W, "__metadata__": {"a": 1}}, 8),
        ({"w": W, "__metadata__": []}, 8),
        ({"\ud800": W}, 8),
        (b'{"w":', 0),
        (b'{"\xff":1}', 0),
        (b'{"w":1}trailing', 0),
        (b'{"w":' + b"[" * 50_000, 0),
        (b'{"w":1' + b"0" * 5000 + b"}", 0),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, header: Any, data: int) -> None:
    with pytest.raises(ReadError):
        read(write(tmp_path / "m.safetensors", header, b"\0" * data))


@pytest.mark.parametrize("header", [{}, {"__metadata__": {"format": "pt"}}])
def test_a_state_dict_without_tensors(tmp_path: Path, header: Any) -> None:
    assert not read(write(tmp_path / "m.safetensors", header, b"")).tensors


def test_header_beyond_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", {"w": W})
    content = path.read_bytes()
    for length in (1 << 20, 90_000_000, 1 << 47):
        path.write_bytes(length.to_bytes(8, "little") + content[8:])
        with pytest.raises(ReadError):
            read(path)


def test_header_of_very_many_values(tmp_path: Path) -> None:
    header = b'{"w":[' + b"[]," * 1_000_000 + b"[]]}"
    with pytest.raises(ReadError, match="more than 250,000 tensors"):
        read(write(tmp_path / "m.safetensors", header))


def test_has_no_containers(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", {"w": W})
    assert list(read(path, key="").tensors) == ["w"]
    with pytest.raises(ReadError, match="leave key out"):
        read(path, key="model")


def test_calls_for_each_tensor_are_few(tmp_path: Path) -> None:
    counted = []
    for number in (10, 1_010):
        header = {
            f"layers.{each}.w": {**W, "data_offsets": [8 * each, 8 * each + 8]} for each in range(number)
        }
        path = write(tmp_path / "m.safetensors", header, b"\0" * 8 * number)
        read(path)
        with calls() as counter:
            read(path)
            counted.append(counter())
    assert counted[1] - counted[0] <= 8_000  # 20,000 where each was checked on its own


def test_a_location_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    structure = read(
        write(tmp_path / "m.safetensors", {"w": W, "v": {**W, "data_offsets": [8, 16]}}, b"\0" * 16)
    )
    assert list(structure.locations) == ["w", "v"]
    assert len(structure.locations) == 2
    assert structure.locations["v"].offset - structure.locations["w"].offset == 8
    assert dict(structure.locations) == structure.locations
    assert "u" not in structure.locations
