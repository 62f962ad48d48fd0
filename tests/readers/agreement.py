"""Whether a structure says of a file what torch itself loads from it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytest_ckpt_compat._core.structure import ITEM_SIZES, Structure, TensorSpec, alias_groups
from pytest_ckpt_compat._readers import read, record_offsets


def spec(tensor: torch.Tensor) -> TensorSpec:
    name = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.layout).startswith("torch.sparse"):
        name = f"{str(tensor.layout).removeprefix('torch.')}_{name}"
    elif tensor.is_meta:
        name = f"meta_{name}"
    elif tensor.is_quantized and tensor.qscheme() is not torch.per_tensor_affine:
        name = f"{str(tensor.qscheme()).removeprefix('torch.')}_{name}"
    return TensorSpec(name, tuple(tensor.shape))


def identity(tensor: torch.Tensor) -> object:
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        return id(tensor)
    storage = tensor.untyped_storage()
    return storage._cdata, tensor.storage_offset(), tensor.size(), tensor.stride()


def assert_agrees(structure: Structure, loaded: Mapping[str, torch.Tensor]) -> None:
    assert list(structure.tensors) == list(loaded)
    assert structure.tensors == {key: spec(tensor) for key, tensor in loaded.items()}
    assert structure.aliases == alias_groups({key: identity(tensor) for key, tensor in loaded.items()})
    metadata = getattr(loaded, "_metadata", None)
    if metadata is None:
        assert structure.versions is None
    else:
        versions = {name: facts["version"] for name, facts in metadata.items() if "version" in facts}
        assert structure.versions == {name: version for name, version in versions.items() if version != 1}


def assert_locations(structure: Structure, loaded: Mapping[str, torch.Tensor]) -> None:
    """The bytes at each location are the tensor's own."""
    for key, location in structure.locations.items():
        tensor = loaded[key]
        start = record_offsets(location.file, [location.record])[location.record] + location.offset
        assert location.stride == tensor.stride()
        if tensor.is_contiguous() and tensor.numel():
            size = int(tensor.numel() * ITEM_SIZES[structure.tensors[key].dtype])
            with Path(location.file).open("rb") as stream:
                stream.seek(start)
                assert stream.read(size) == bytes(tensor.detach().reshape(-1).view(torch.uint8).tolist())


def round_trip(path: Path, state_dict: Mapping[str, torch.Tensor], **options: Any) -> Structure:
    torch.save(state_dict, path, **options)
    structure = read(path)
    loaded = torch.load(path, weights_only=False)
    assert_agrees(structure, loaded)
    assert_locations(structure, loaded)
    return structure


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.LSTM(4, 4))


def newer_dtypes() -> list[torch.dtype]:
    """Those that the lowest supported torch does not have yet, as far as this one does."""
    names = ("float8_e8m0fnu", "float4_e2m1fn_x2")
    return [getattr(torch, name) for name in names if hasattr(torch, name)]


def saves(dtype: torch.dtype) -> bool:
    """Whether this torch can save tensors of a dtype."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about experimental kinds
        try:
            torch.save(torch.empty(0, dtype=dtype), io.BytesIO())
        except KeyError:
            return False
    return True
