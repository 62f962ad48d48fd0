"""Files written by torch: our reading agrees with ``torch.load``."""

from __future__ import annotations

import argparse
import collections
import enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec, alias_groups
from pytest_ckpt_compat._readers import Opaque, read
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.pickle.inert import Storage
from pytest_ckpt_compat._readers.pickle.tensors import dense
from tests.counting import calls
from tests.readers.agreement import identity, network, newer_dtypes, round_trip, saves, spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, about experimental kinds

PLAIN_DTYPES = [
    torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32,
    torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2,
    torch.float8_e5m2fnuz,
    *newer_dtypes(),
]  # fmt: skip


class Stage(enum.Enum):
    TRAIN = "train"


class Config(dict[str, Any]):
    """A dictionary with attributes, of a class the reader does not know."""


def test_state_dict_keeps_order_shapes_and_versions(tmp_path: Path) -> None:
    structure = round_trip(tmp_path / "net.pt", network().state_dict())
    assert structure.versions == {"1": 2}
    assert structure.source.format == "torch zip"
    assert structure.source.container == ""
    assert structure.locations.keys() == structure.tensors.keys()


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])  # torch cannot load its own files of protocol 0
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    round_trip(tmp_path / "net.pt", network().state_dict(), pickle_protocol=protocol)


@pytest.mark.parametrize("dtype", [dtype for dtype in PLAIN_DTYPES if saves(dtype)], ids=str)
def test_every_plain_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    raw = torch.arange(6 * 16, dtype=torch.uint8)
    tensor = (raw % 2).bool() if dtype == torch.bool else raw.view(dtype)
    structure = round_trip(tmp_path / "net.pt", {"w": tensor, "tied": tensor, "part": tensor[2:]})
    assert structure.aliases == (("w", "tied"),)
    assert set(structure.locations) == {"w", "tied", "part"}


def test_views_and_ties(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    views = {
        "base": base,
        "same": base.view(4, 6),
        "row": base[1],
        "row_again": base[1],
        "turned": base.t(),
        "flat": base.reshape(-1),
        "wide": torch.ones(1).expand(5),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(base),
    }
    structure = round_trip(tmp_path / "net.pt", views)
    assert structure.aliases == (("base", "same", "parameter"), ("row", "row_again"))


def test_tensors_of_other_kinds_have_no_location(tmp_path: Path) -> None:
    eye = torch.eye(3)
    tensors = {
        "quantized": torch.quantize_per_tensor(eye, 0.1, 0, torch.quint8),
        "by_channel": torch.quantize_per_channel(eye, torch.ones(3), torch.zeros(3), 0, torch.qint8),
        "packed": torch.quantize_per_channel(eye, torch.ones(3), torch.zeros(3), 0, torch.quint4x2),
        "coo": eye.to_sparse(),
        "csr": eye.to_sparse_csr(),
        "csc": eye.to_sparse_csc(),
        "bsr": torch.eye(4).to_sparse_bsr((2, 2)),
        "meta": torch.empty(2, 3, device="meta"),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
        "plain": eye,
    }
    structure = round_trip(tmp_path / "net.pt", tensors)
    assert set(structure.locations) == {"plain"}


def test_tensor_with_attributes_and_subclasses(tmp_path: Path) -> None:
    tagged = torch.ones(3)
    tagged.note = "kept by pickle"  # type: ignore[attr-defined]
    round_trip(tmp_path / "net.pt", {"tagged": tagged, "parameter": torch.nn.Parameter(torch.ones(2))})


def test_nested_tensors_read_as_their_values(tmp_path: Path) -> None:
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)])
    torch.save({"n": nested, "w": torch.ones(1)}, tmp_path / "net.pt")
    assert read(tmp_path / "net.pt").tensors["n"] == TensorSpec("float32", (9,))


def test_extra_state_is_an_object(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "_extra_state": {"scale": torch.ones(1), "amax": 4}}, tmp_path / "x.pt")
    structure = read(tmp_path / "x.pt")
    assert structure.tensors == {"w": TensorSpec("float32", (2,)), "_extra_state": TensorSpec("object")}
    assert structure.values["_extra_state"] == {"amax": 4}


def test_values_are_plain_data(tmp_path: Path) -> None:
    checkpoint = {
        "state_dict": {"w": torch.ones(2)},
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, out=Path("runs/1"), device=torch.device("cuda:0")),
        "hyper_parameters": Config(num_classes=10, mean=np.float32(0.5), bins=np.arange(6).reshape(2, 3)),
        "best": torch.tensor(0.5),
        "history": [1.5, torch.ones(2), (None, True, b"raw", 2j)],
        "counts": collections.Counter("abb"),
        "lists": collections.defaultdict(list, a=[1]),
        "recent": collections.deque([1, 2], 5),
        "chosen": {1, 2},
        "fixed": frozenset({"a"}),
        "activation": torch.nn.ReLU,
        "stage": Stage.TRAIN,
        "buffer": bytearray(b"ab"),
        "big": 1 << 100,
    }
    torch.save(checkpoint, tmp_path / "run.ckpt")
    assert read(tmp_path / "run.ckpt").values == {
        "state_dict": {},
        "epoch": 3,
        "args": {"lr": 0.1, "out": "runs/1", "device": "cuda:0"},
        "hyper_parameters": {"num_classes": 10, "mean": 0.5, "bins": [[0, 1, 2], [3, 4, 5]]},
        "history": [1.5, None, (None, True, b"raw", 2j)],
        "counts": {"a": 1, "b": 2},
        "lists": {"a": [1]},
        "recent": [1, 2],
        "chosen": {1, 2},
        "fixed": {"a"},
        "activation": Opaque("torch.nn.modules.activation.ReLU"),
        "stage": Opaque(f"{__name__}.Stage"),
        "buffer": b"ab",
        "big": 1 << 100,
    }


def test_values_that_contain_themselves(tmp_path: Path) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    torch.save({"state_dict": {"w": torch.ones(1)}, "loop": loop}, tmp_path / "run.pt")
    assert read(tmp_path / "run.pt").values["loop"] == [1, Opaque("a value inside itself")]


@pytest.mark.skipif(
    not hasattr(torch.serialization, "set_crc32_options"), reason="this torch always writes checksums"
)
def test_files_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        round_trip(tmp_path / "net.pt", network().state_dict())
    finally:
        torch.serialization.set_crc32_options(True)


def test_tensors_of_the_other_byte_order_have_no_location(tmp_path: Path) -> None:
    import zipfile

    torch.save({"w": torch.ones(2)}, tmp_path / "net.pt")
    with zipfile.ZipFile(tmp_path / "net.pt") as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))
    structure = read(tmp_path / "big.pt")
    assert structure.tensors == {"w": TensorSpec("float32", (2,))}
    assert not structure.locations


def test_a_pickled_module_reads_as_its_state_dict(tmp_path: Path) -> None:
    net = network()
    net.register_buffer("kept", torch.ones(2))
    net.register_buffer("left_out", torch.ones(2), persistent=False)
    net.register_parameter("nothing", None)
    net.add_module("shared", next(net.children()))
    torch.save(net, tmp_path / "net.pt")
    structure = read(tmp_path / "net.pt")
    state_dict = torch.load(tmp_path / "net.pt", weights_only=False).state_dict()
    assert structure.tensors == {key: spec(tensor) for key, tensor in state_dict.items()}
    assert list(structure.tensors) == list(state_dict)
    assert structure.aliases == alias_groups({key: identity(tensor) for key, tensor in state_dict.items()})
    versions = {name: facts["version"] for name, facts in state_dict._metadata.items()}
    assert structure.versions == {name: version for name, version in versions.items() if version != 1} != {}
    assert structure.values == {}


def test_a_norm_that_was_pickled_before_it_had_a_counter(tmp_path: Path) -> None:
    norm: Any = torch.nn.BatchNorm1d(2)
    del norm._buffers["num_batches_tracked"]
    torch.save(torch.nn.Sequential(norm), tmp_path / "net.pt")
    assert read(tmp_path / "net.pt").versions == {}


def test_a_module_inside_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "model": network(), "optimizer": None}, tmp_path / "net.pt")
    structure = read(tmp_path / "net.pt")
    assert structure.source.container == "model"
    assert list(structure.tensors) == list(network().state_dict())
    assert structure.values["model"] == Opaque("torch.nn.modules.container.Sequential")


def test_distributed_tensors_have_their_global_shape(tmp_path: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    tensor = pytest.importorskip("torch.distributed.tensor", reason="makes the tensor")
    if not hasattr(tensor, "Shard"):
        pytest.skip("this torch has distributed tensors in a private place")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        weight = tensor.distribute_tensor(torch.ones(6, 2), mesh, [tensor.Shard(0)])
        torch.save({"model": {"w": weight, "b": torch.ones(2)}}, tmp_path / "net.pt")
    finally:
        dist.destroy_process_group()
    structure = read(tmp_path / "net.pt")
    assert structure.tensors == {
        "w": TensorSpec("torch.distributed.tensor.DTensor.float32", (6, 2)),
        "b": TensorSpec("float32", (2,)),
    }
    assert set(structure.locations) == {"b"}


def test_a_compiled_and_a_traced_module_read_as_their_state_dicts(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    # What torch.compile returns; a context that can be pickled stands in for the compiler.
    optimized: Any = torch._dynamo.eval_frame.OptimizedModule
    for module in (optimized(net, torch._dynamo.disable), torch.fx.symbolic_trace(net)):
        torch.save(module, tmp_path / "net.pt")
        state_dict: Any = module.state_dict()
        structure = read(tmp_path / "net.pt")
        assert structure.tensors == {key: spec(tensor) for key, tensor in state_dict.items()}
        versions = {name: facts["version"] for name, facts in state_dict._metadata.items()}
        assert structure.versions == {name: number for name, number in versions.items() if number != 1}


class SavesLess(torch.nn.Linear):
    """Saves by code of its own."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {"weight": super().state_dict(*args, **kwargs)["weight"]}


class Versioned(torch.nn.Linear):
    """Has a version of its own."""

    _version = 3


def test_a_pickled_module_has_the_version_of_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Sequential(Versioned(2, 2), torch.nn.Linear(2, 2)), tmp_path / "net.pt")
    assert read(tmp_path / "net.pt").versions == {"0": 3}


class Counts(torch.nn.ReLU):
    """Has extra state, and nothing else."""

    def get_extra_state(self) -> Any:
        return 1

    def set_extra_state(self, state: Any) -> None:
        pass


def _rename(module: Any, state: Any, prefix: str, metadata: Any) -> None:
    state[prefix + "gamma"] = state.pop(prefix + "weight")


def test_a_pickled_module_that_saves_by_code_of_its_own(tmp_path: Path) -> None:
    hooked: Any = torch.nn.Linear(2, 2)
    hooked._register_state_dict_hook(_rename)
    for module, what in ((SavesLess(2, 2), "state_dict"), (hooked, "a hook on state_dict")):
        torch.save(torch.nn.Sequential(module), tmp_path / "net.pt")
        with pytest.raises(ReadError, match=rf"saves by code of its own \({what}\)"):
            read(tmp_path / "net.pt")


@pytest.mark.parametrize("module", [torch.nn.ReLU(), Counts(), torch.nn.Sequential(Counts(), Counts())])
def test_a_pickled_module_without_tensors(tmp_path: Path, module: torch.nn.Module) -> None:
    torch.save(module, tmp_path / "net.pt")
    structure = read(tmp_path / "net.pt")
    assert list(structure.tensors) == list(module.state_dict())
    assert not structure.objects, "the value is made by code"


def test_calls_for_each_tensor_are_few(tmp_path: Path) -> None:
    counted = []
    for number in (10, 510):
        path = tmp_path / "net.pt"
        torch.save({f"layers.{each}.weight": torch.empty(2, 2) for each in range(number)}, path)
        read(path)
        with calls() as counter:
            read(path)
            counted.append(counter())
    assert counted[1] - counted[0] <= 500 * 115  # 160 where each opcode was a method


@pytest.mark.parametrize(
    ("size", "stride"), [((True,), (1,)), ((1,), (True,)), ((1.0,), (1,)), ((1,), (1, 1))]
)
def test_a_shape_like_one_that_was_seen_is_checked_all_the_same(size: Any, stride: Any) -> None:
    storage = Storage("float32", "data/0", 1)
    assert dense(storage, 0, (1,), (1,), "float32", plain=True).size == (1,)
    with pytest.raises(RefusalError):
        dense(storage, 0, size, stride, "float32", plain=True)
