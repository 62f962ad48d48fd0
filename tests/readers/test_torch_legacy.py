"""Files of ``torch.save`` before 1.6: agreement with ``torch.load``, and streams that lie."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._readers.source import files
from tests.readers.agreement import assert_agrees, assert_locations, network, round_trip

DATA = Path(__file__).parent / "data"
MAGIC = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
OLD = {"_use_new_zipfile_serialization": False}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, about the old format


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_agrees_with_torch(tmp_path: Path, protocol: int) -> None:
    structure = round_trip(tmp_path / "net.pt", network().state_dict(), pickle_protocol=protocol, **OLD)
    assert structure.source.format == "torch legacy"
    assert structure.versions == {"1": 2}
    assert structure.locations.keys() == structure.tensors.keys()


def test_views_and_ties(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    structure = round_trip(
        tmp_path / "net.pt",
        {
            "base": base,
            "same": base.view(4, 6),
            "row": base[1],
            "turned": base.t(),
            "b": torch.ones(3).bool(),
        },
        **OLD,
    )
    assert structure.aliases == (("base", "same"),)
    assert structure.views == (("base", "same", "row", "turned"),)


def test_a_pickled_module(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "net.pt", **OLD)
    assert list(read(tmp_path / "net.pt").tensors) == list(network().state_dict())


def test_only_the_pickles_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    torch.save({f"layer.{i}.weight": torch.ones(50_000) for i in range(100)}, path, **OLD)
    read_bytes = 0
    original = files.Blob.read_at

    def counted(self: files.Blob, offset: int, size: int) -> bytes:
        nonlocal read_bytes
        read_bytes += size
        return original(self, offset, size)

    monkeypatch.setattr(files.Blob, "read_at", counted)
    assert len(read(path).tensors) == 100
    assert path.stat().st_size > 20_000_000
    assert read_bytes < 100_000


def test_pickles_longer_than_the_first_read(tmp_path: Path) -> None:
    structure = round_trip(
        tmp_path / "net.pt", {f"layer.{i}.weight": torch.ones(1) for i in range(3000)}, **OLD
    )
    assert len(structure.tensors) == 3000


@pytest.mark.parametrize("name", ["zip", "legacy"])
def test_checkpoints_of_torch_1_13(name: str) -> None:
    path = DATA / f"torch-1.13-{name}.pt"
    structure = read(path)
    loaded = torch.load(path, weights_only=False)
    assert_agrees(structure, loaded["model"])
    assert_locations(structure, loaded["model"])
    assert structure.source.format == f"torch {name}"
    assert structure.values["epoch"] == 3
    assert structure.values["best"] == 0.5
    optimizer = structure.optimizers["optimizer"]
    assert optimizer.groups == ((0, 1), (2, 3))
    assert optimizer.states[0]["exp_avg"] == TensorSpec("float32", (3, 2, 1))


def test_a_module_of_torch_1_13() -> None:
    structure = read(DATA / "torch-1.13-legacy-module.pt")
    assert structure.tensors == read(DATA / "torch-1.13-legacy.pt").tensors


def stream(
    value: Any = None,
    *,
    storage: tuple[Any, ...] = ("0", "cpu", 4, None),
    names: Any = ("0",),
    data: bytes = struct.pack("<q4f", 4, 1, 2, 3, 4),
    magic: int = MAGIC,
    version: int = 1001,
    machine: Any = MACHINE,
) -> bytes:
    """A stream with one storage of four floats, by hand: each part can be made to lie."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, *storage) if obj is Pickler else None

    import io

    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(value if value is not None else {"w": Rebuilt(Pickler)})
    header = b"".join(pickle.dumps(part, 2) for part in (magic, version, machine))
    listed = list(names) if isinstance(names, tuple) else names
    return header + pickled.getvalue() + pickle.dumps(listed, 2) + data


class Rebuilt:
    """Pickles as a tensor of four floats over whatever stands for the storage."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, (2, 2), (2, 1), False, {})


def test_views_of_storages_as_before_0_4(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    data = struct.pack("<q6f", 6, *range(6))
    path.write_bytes(stream(storage=("0", "cpu", 6, ("v", 2, 4)), data=data))
    loaded = torch.load(path, weights_only=False)
    assert loaded["w"].tolist() == [[2, 3], [4, 5]]
    structure = read(path)
    assert structure.tensors == {"w": TensorSpec("float32", (2, 2))}
    assert_locations(structure, loaded)


def test_the_other_byte_order_has_no_location(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(stream(machine={**MACHINE, "little_endian": False}))
    assert not read(path).locations


@pytest.mark.parametrize(
    ("lie", "problem"),
    [
        ({"version": 1002}, "not of a known version"),
        ({"machine": [1]}, "not of a known version"),
        ({"names": ()}, "differs from the storages"),
        ({"names": ("0", "0")}, "differs from the storages"),
        ({"names": ("0", "1")}, "differs from the storages"),
        ({"names": (0,)}, "not a list of names"),
        ({"names": 3}, "not a list of names"),
        ({"data": struct.pack("<q4f", 5, 1, 2, 3, 4)}, "number of elements of storage"),
        ({"data": struct.pack("<q3f", 4, 1, 2, 3)}, "the file ends at byte"),
        ({"data": struct.pack("<q5f", 4, 1, 2, 3, 4, 5)}, "the file ends at byte"),
        ({"data": b""}, "ends at byte"),
        ({"storage": ("0", "cpu", 3, None)}, "beyond its storage"),
        ({"storage": ("0", "cpu", 1 << 62, None)}, "number of elements of storage"),
        ({"storage": ("0", "cpu", -1, None)}, "by something other than"),
        ({"storage": ("0", "cpu", 4, ("v", 2, 3))}, "view beyond its storage"),
        ({"storage": ("0", "cpu", 4, ("v", -1, 4))}, "by something other than numbers"),
        ({"storage": ("0", "cpu", 4, "v")}, "in an unknown way"),
        ({"storage": ("0", "cpu", 4)}, "something other than a storage"),
    ],
)
def test_streams_that_lie(tmp_path: Path, lie: dict[str, Any], problem: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(stream())
    assert read(path).tensors
    path.write_bytes(stream(**lie))
    with pytest.raises(ReadError, match=problem):
        read(path)


def test_calls_nothing(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "marker",)

    path = tmp_path / "net.pt"
    payload: Any = Payload()
    for content in (stream(payload), stream(names=payload), stream(machine=payload)):
        path.write_bytes(content)
        with pytest.raises(ReadError):
            read(path)
    assert not (tmp_path / "marker").exists()
