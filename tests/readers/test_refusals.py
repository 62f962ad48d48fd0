"""Every row of the table of refusals: a real file of that kind, what is said of it, and the next step."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.package import PackageExporter  # type: ignore[attr-defined]

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._readers.formats import directories, foreign

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def arrays() -> dict[str, Any]:
    return {key: value.numpy() for key, value in net().state_dict().items()}


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def zipped(**records: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name.replace("__", "."), data)
    return stream.getvalue()


def tarred(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            facts = tarfile.TarInfo("./" + name.replace("__", "."))
            facts.size = len(data)
            archive.addfile(facts, io.BytesIO(data))
    return stream.getvalue()


def part(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save({"model": net().state_dict()}, checkpoint_id=folder / "run", no_dist=True)
    return next((folder / "run").glob("*.distcp"))


def sharded(folder: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = HuggingFaceStorageWriter(str(folder / "run"), **options)
        save(net().state_dict(), storage_writer=writer, no_dist=True)
    return folder / "run"


def packaged(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with PackageExporter(str(folder / "net.pt")) as exporter:
            exporter.extern("**")
            exporter.save_pickle("model", "model.pkl", net())
    return folder / "net.pt"


def frozen(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = torch.jit.freeze(torch.jit.script(net().eval()))
        module.save(str(folder / "net.pt"))
    return folder / "net.pt"


def directory(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).touch()
        return folder

    return write


def files(*names: str) -> Callable[[Path], Path]:
    """Writes a directory with these files; the JSON of modules names those of sentence-transformers."""

    def write(folder: Path) -> Path:
        for name in names:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            if name.endswith(".safetensors"):
                save_file(net().state_dict(), path)
            else:
                path.write_text('[{"type": "sentence_transformers.models.Transformer"}]')
        return folder

    return write


def scheduler() -> Any:
    return torch.optim.lr_scheduler.StepLR(torch.optim.SGD(net().parameters()), 1)


class NeuralNet:
    """Stands in for the class of skorch, which pickles itself so (1.4)."""

    def __getstate__(self) -> dict[str, Any]:
        return {"module": nn.Linear, "initialized_": True, "__cuda_dependent_attributes__": saved(net())}


def skorch_net() -> NeuralNet:
    return NeuralNet()


def pickled_skorch() -> bytes:
    raw = pickle.dumps(skorch_net(), protocol=4)
    name, other = (part.encode() for part in (__name__, "skorch.net"))
    return raw.replace(bytes([len(name)]) + name, bytes([len(other)]) + other)


def array_file() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def array_archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays())
    return stream.getvalue()


def old_tar() -> bytes:
    return tarred(sys_info=b"", pickle=b"", tensors=b"", storages=b"")


#: The first column of the table -> the content of such a file, or a function that writes one.
KINDS: dict[str, bytes | Callable[[Path], Path]] = {
    "a mapping of NumPy arrays": saved({"model": arrays(), "epoch": 3}),
    "one tensor": saved(torch.zeros(3)),
    "a list of tensors": saved([torch.zeros(3), torch.zeros(4)]),
    "an optimizer's state": saved(torch.optim.Adam(net().parameters()).state_dict()),
    'an optimizer\'s state with other values, `{"optimizer": ..., "epoch": 3}`': saved(
        {"optimizer": torch.optim.SGD(net().parameters()).state_dict(), "epoch": 3}
    ),
    "a scheduler's state": saved(scheduler().state_dict()),
    "accelerate's `random_states_0.pkl`": saved(
        {"step": 0, "random_state": (3, (1, 2), None), "torch_manual_seed": torch.get_rng_state()}
    ),
    "a net of skorch, saved whole": saved(skorch_net()),
    "anything else without tensors": saved({"epoch": 3}),
    "frozen TorchScript": frozen,
    "one `.distcp` file": part,
    "one part of a Hugging Face save by ranks": lambda folder: next(
        sharded(folder, save_distributed=True).iterdir()
    ),
    "a directory of such parts": lambda folder: sharded(folder, save_distributed=True),
    "torch.package": packaged,
    "Stable-Baselines3, compressed again": zipped(
        data=b"{}",
        policy__pth=saved(net().state_dict()),
        _stable_baselines3_version=b"2",
    ),
    "another zip archive with checkpoints": zipped(encoder__pt=b"", decoder__pt=b""),
    "another zip archive": zipped(document__xml=b"<a/>"),
    "NeMo, with its weights in parts": tarred(
        **{"model_config__yaml": b"a: 1", "model_weights/__metadata": b""}
    ),
    "another tar archive": tarred(readme__txt=b"hello"),
    "torch before 0.1.10": old_tar(),
    "joblib, compressed": zlib.compress(pickle.dumps(arrays())),
    "a net of skorch, pickled": pickled_skorch(),
    "a plain pickle": pickle.dumps(arrays(), protocol=4),
    "gzip": gzip.compress(saved(net().state_dict())),
    "NumPy `.npy`": array_file(),
    "NumPy `.npz`": array_archive(),
    "Keras `.h5`": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "Keras `.keras`": zipped(config__json=b"{}", model__weights__h5=b""),
    "Flax msgpack": b"\x81\xa6params\x81\xa1w\xc4\x04\0\0\0\0",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "bzip2": bz2.compress(b"a"),
    "xz": lzma.compress(b"a"),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(20),
    "XML": b"<?xml version='1.0'?><Error/>",
    "TorchScript of torch before 1.4": zipped(**{"m/model__json": b"{}", "m/tensors/0": b""}),
    "a directory of Orbax": directory("_CHECKPOINT_METADATA"),
    "a directory of TensorFlow's SavedModel": directory("saved_model.pb"),
    "a directory of Keras": directory("keras_metadata.pb"),
    "a directory of TensorFlow or Flax": directory("checkpoint"),
    "a directory of accelerate with several models": files("model.safetensors", "model_1.safetensors"),
    "a directory of sentence-transformers with several weights": files(
        "model.safetensors", "2_Dense/model.safetensors", "1_Pooling/config.json", "modules.json"
    ),
    "a directory of checkpoint directories": files(
        "unet/diffusion_pytorch_model.safetensors", "vae/model.safetensors", "scheduler/scheduler_config.json"
    ),
    "a directory of PEFT adapters": files("first/adapter_config.json", "second/adapter_config.json"),
    "a directory without a checkpoint": directory("readme.txt"),
    "HTML": b"<!DOCTYPE html><html>404</html>",
    "`config.json`": json.dumps({"architectures": ["Bert"], "model_type": "bert"}).encode(),
    "`adapter_config.json`": json.dumps({"peft_type": "LORA"}).encode(),
    "a snapshot": json.dumps({"format": "ckpt-compat fingerprint", "tensors": {}}).encode(),
    "other JSON": b'{"a": 1}',
    "other text": b"hello, world\n",
    "an empty file": b"",
}


def table() -> dict[str, tuple[str, str]]:
    """The rows of the page's table."""
    text = PAGE.read_text(encoding="utf-8").partition("## What is refused")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {kind: (problem, step) for kind, problem, step in rows if kind != "what"}


def test_every_row_has_its_file() -> None:
    assert table().keys() == KINDS.keys()


def test_everything_that_is_refused_by_name_has_its_row() -> None:
    told = {problem for problem, _ in table().values()}
    assert {problem for _, problem, _ in (*foreign._KNOWN, *foreign._JSON)} <= told
    assert {problem for _, problem in directories._FOREIGN} <= told


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_says_what_the_file_is_and_the_next_step(kind: str, tmp_path: Path) -> None:
    made = KINDS[kind]
    path = tmp_path / "net.pt"
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        path = made(tmp_path)
    with pytest.raises(ReadError) as caught:
        read(path)
    assert str(caught.value).isprintable()
    problem, step = table()[kind]
    assert (caught.value.problem, caught.value.advice) == (problem, step.replace("`", ""))


def test_what_a_refusal_names_is_read(tmp_path: Path) -> None:
    made = KINDS["Stable-Baselines3, compressed again"]
    assert isinstance(made, bytes)
    with zipfile.ZipFile(io.BytesIO(made)) as inside:
        inside.extractall(tmp_path)
    assert len(read(tmp_path / "policy.pth").tensors) == 4
    assert len(read(part(tmp_path).parent).tensors) == 4
    for kind in KINDS:
        if kind.startswith("a directory of") and "give one of them: " in table()[kind][1]:
            folder = tmp_path / str(len(kind))
            folder.mkdir()
            made = KINDS[kind]
            assert not isinstance(made, bytes)
            made(folder)
            for name in re.findall(r"'(.+?)'", table()[kind][1]):
                assert "adapter" in kind or len(read(folder / name).tensors) == 4


@pytest.mark.parametrize("options", [{}, {"save_distributed": True, "enable_consolidation": True}])
def test_a_whole_save_of_hugging_face_is_read(tmp_path: Path, options: dict[str, bool]) -> None:
    folder = sharded(tmp_path, **options)
    assert len(read(folder).tensors) == 4
    assert len(read(next(folder.glob("model-*.safetensors"))).tensors) == 4


def test_a_part_under_another_name(tmp_path: Path) -> None:
    place = {"up.weight": {"saved_offsets": [2, 0]}}
    metadata = {"DCP_SHARDING_INFO": json.dumps(place), "DCP_VERSION": "1.0"}
    save_file({"up.weight": torch.zeros(2, 3)}, tmp_path / "net.safetensors", metadata)
    with pytest.raises(ReadError, match="it is one part of a distributed checkpoint"):
        read(tmp_path / "net.safetensors")
