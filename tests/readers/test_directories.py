"""Directories: distributed checkpoints of torch, DeepSpeed's, and those of other libraries."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint import metadata
from torch.distributed.checkpoint.state_dict_saver import save

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._readers import read
from tests.readers.agreement import network, spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, about single processes


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    return net, optimizer


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torch.distributed.checkpoint.state_dict import get_state_dict

    path = tmp_path_factory.mktemp("dcp") / "step_3"
    model, optimizer = get_state_dict(*trained())
    save({"model": model, "optimizer": optimizer, "epoch": 3}, checkpoint_id=path)
    return path


def test_agrees_with_torch(good: Path) -> None:
    state = trained()[0].state_dict()
    for path in (good, good / ".metadata"):
        structure = read(path)
        assert structure.tensors == {key: spec(tensor) for key, tensor in state.items()}
        assert list(structure.tensors) == list(state)
        assert structure.source.container == "model"
        assert structure.source.path == str(path)
    states = structure.optimizers["optimizer"].states
    assert states["0.weight"]["exp_avg"] == TensorSpec("float32", (3, 2))
    with pytest.raises(ReadError, match=r"no state_dict at key='ema'.*key=\"model\""):
        read(good, key="ema")


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_sharded_tensors_have_their_global_shape(tmp_path: Path) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    weight = distribute_tensor(torch.ones(6, 2), init_device_mesh("cpu", (1,)), [Shard(0)])
    save({"w": weight, "b": torch.ones(2, dtype=torch.bfloat16)}, checkpoint_id=tmp_path / "x")
    assert read(tmp_path / "x").tensors == {
        "w": TensorSpec("float32", (6, 2)),
        "b": TensorSpec("bfloat16", (2,)),
    }


def forged(folder: Path, **changes: Any) -> Path:
    """A table of one tensor in two chunks; some of it changed."""
    import pickle

    folder.mkdir(exist_ok=True)
    facts: dict[str, Any] = {"offsets": [(0, 0), (2, 0)], "sizes": [(2, 3), (2, 3)], "size": (4, 3)} | changes
    chunks = [
        metadata.ChunkStorageMetadata(torch.Size(begin), torch.Size(size))
        for begin, size in zip(facts["offsets"], facts["sizes"], strict=True)
    ]
    entry = metadata.TensorStorageMetadata(metadata.TensorProperties(), torch.Size(facts["size"]), chunks)
    table = facts.get("table", {"w": entry})
    content = metadata.Metadata(table, facts.get("paths"), facts.get("files"))
    (folder / ".metadata").write_bytes(pickle.dumps(facts.get("root", content), 4))
    return folder


class StorageInfo:
    """Pickles like a ``_StorageInfo``."""

    def __init__(self, relative_path: Any) -> None:
        self.relative_path = relative_path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sizes": [(2, 3), (3, 3)]}, "a chunk that reaches beyond it"),
        ({"sizes": [(2, 3), (1, 3)]}, "chunks that do not fill it"),
        ({"sizes": [(2, 3), (2,)]}, "different number of dimensions"),
        ({"size": (4, 3, 1)}, "different number of dimensions"),
        ({"table": None}, "no table of tensors"),
        ({"table": {"w": 3}}, "another value where a TensorStorageMetadata"),
        ({"table": {1: 3}}, "a name that is not text"),
        ({"table": {"w": metadata.BytesStorageMetadata()}}, "no state_dict"),
        ({"root": metadata.BytesStorageMetadata()}, "where a Metadata is expected"),
        ({"paths": {"w": "w"}}, "not a list of names"),
        ({"paths": {"w": ()}}, "not a list of names"),
        ({"paths": {"w": ("a",) * 1000}}, "not a list of names"),
        ({"paths": {"w": (1.5,)}}, "parts are not names"),
        ({"files": {"w": StorageInfo("../x.distcp")}}, "not a plain file name"),
        ({"files": {"w": StorageInfo(3)}}, "not a plain file name"),
        ({"files": {"w": StorageInfo("__0_0.distcp")}}, "1 of its 1 data files are missing"),
    ],
)
def test_tables_that_lie(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    assert read(forged(tmp_path / "good")).tensors == {"w": TensorSpec("float32", (4, 3))}
    with pytest.raises(ReadError, match=problem):
        read(forged(tmp_path / "bad", **changes))


def test_paths_that_cross(tmp_path: Path) -> None:
    entry = metadata.BytesStorageMetadata()
    for paths in ({"a": ("x",), "b": ("x", "y")}, {"a": ("x", "y"), "b": ("x",)}, {"a": ("x",), "b": ("x",)}):
        with pytest.raises(ReadError, match=r"leads through another value|two values at one path"):
            read(forged(tmp_path / "bad", table={"a": entry, "b": entry}, paths=paths))


def zero(folder: Path, stage: int = 2, **changes: Any) -> Path:
    """The files that DeepSpeed writes, as far as they describe the model."""
    net = network()
    state = net.state_dict()
    params = OrderedDict((name, tensor.shape) for name, tensor in net.named_parameters())
    facts = {
        "module": state,
        "buffer_names": [name for name, _ in net.named_buffers()],
        "param_shapes": [params],
        "frozen_param_shapes": {"stem.weight": torch.Size([5, 4])},
        "frozen_param_fragments": {"stem.weight": torch.ones(5, 4, dtype=torch.float16)},
        "shared_params": {"head.weight": "0.weight"},
        "ds_version": "0.16.0",
        "dp_world_size": 2,
        "optimizer": None,
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    names = ["mp_rank_00_model_states.pt"]
    if stage == 3:
        names = [f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt" for rank in range(2)]
    for name in names:
        torch.save(facts, folder / name)
        (folder / name.replace("mp_rank_00_model", "mp_rank_00_optim")).write_bytes(b"never read")
    return folder


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed(tmp_path: Path, stage: int) -> None:
    structure = read(zero(tmp_path / "global_step1", stage))
    net = network()
    buffers = {name: spec(buffer) for name, buffer in net.named_buffers()}
    params = {name: TensorSpec("float32", tuple(p.shape)) for name, p in net.named_parameters()}
    frozen = {"stem.weight": TensorSpec("float16", (5, 4))}
    tied = {"head.weight": params["0.weight"]}
    assert structure.tensors == {**buffers, **frozen, **params, **tied}
    assert list(structure.tensors) == [*buffers, *frozen, *params, *tied]
    assert structure.aliases == (("0.weight", "head.weight"),)
    assert structure.source.format == "DeepSpeed"
    assert structure.values["ds_version"] == "0.16.0"


@pytest.mark.parametrize("stage", [2, 3])
def test_agrees_with_deepspeed(stage: int) -> None:
    folder = Path(__file__).parent / "data" / f"deepspeed-zero{stage}"
    joined = json.loads((folder / "joined.json").read_text())
    structure = read(folder)
    assert {key: str(found) for key, found in structure.tensors.items()} == joined
    assert list(structure.tensors) == list(joined)
    assert structure.aliases == (("a.weight", "tied.weight"),)
    assert read(folder / "global_step0").tensors == structure.tensors


def test_deepspeed_without_zero(tmp_path: Path) -> None:
    structure = read(zero(tmp_path, param_shapes=None))
    assert list(structure.tensors) == list(network().state_dict())
    assert structure.source.container == "module"


def test_deepspeed_by_the_folder_above(tmp_path: Path) -> None:
    zero(tmp_path / "global_step1")
    (tmp_path / "latest").write_text("global_step1\n")
    assert "head.weight" in read(tmp_path).tensors
    for name in ("../x", "/etc", "", "nope", "a/b"):
        (tmp_path / "latest").write_text(name)
        with pytest.raises(ReadError):
            read(tmp_path)
    (tmp_path / "latest").write_text("link")
    (tmp_path / "link").symlink_to(tmp_path.parent)
    with pytest.raises(ReadError, match="leaves the folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"param_shapes": 3},
        {"param_shapes": [{"w": "x"}]},
        {"param_shapes": [{"w": (-1,)}]},
        {"param_shapes": [{1: (1,)}]},
        {"param_shapes": [{"w": (1,)}, {"w": (1,)}]},
        {"buffer_names": 3},
        {"buffer_names": [3]},
        {"shared_params": [("a", "b")]},
        {"frozen_param_shapes": {"w": 3}},
        {"param_shapes": [], "buffer_names": [], "frozen_param_shapes": {}},
    ],
)
def test_deepspeed_states_that_lie(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ReadError):
        read(zero(tmp_path, **changes))


def test_deepspeed_in_parts(tmp_path: Path) -> None:
    for name in ("mp_rank_01_model_states.pt", "layer_0_expert_0_mp_rank_00_model_states.pt"):
        folder = zero(tmp_path / name)
        shutil.copy(folder / "mp_rank_00_model_states.pt", folder / name)
        with pytest.raises(ReadError, match=r"parts.*zero_to_fp32"):
            read(folder)
    (zero(tmp_path / "x", 3) / "zero_pp_rank_0_mp_rank_00_model_states.pt").unlink()
    with pytest.raises(ReadError, match="some of its ranks are missing"):
        read(tmp_path / "x")


def touch(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("fill", "problem"),
    [
        (lambda _: None, "a directory without a checkpoint"),
        (touch("_CHECKPOINT_METADATA"), "an Orbax"),
        (touch("manifest.ocdbt"), "an Orbax"),
        (touch("saved_model.pb"), "a TensorFlow SavedModel"),
        (touch("checkpoint"), "TensorFlow or Flax"),
        (touch("a.pt"), "give a file in it: 'a.pt'"),
        (touch("model.safetensors.index.json"), "has no weight_map"),
        (touch(".metadata"), "in its part '.metadata', its pickle"),
        (touch("mp_rank_00_model_states.pt"), "in its part .*not a file that torch.save wrote"),
    ],
)
def test_other_directories(tmp_path: Path, fill: Callable[[Path], object], problem: str) -> None:
    fill(tmp_path)
    with pytest.raises(ReadError, match=problem):
        read(tmp_path)
