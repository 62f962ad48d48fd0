"""The files of training libraries: every row of the table, built as the library lays them out.

accelerate writes its own here. The layouts of skorch 1.4, Stable-Baselines3 2.9, mmengine 0.10, fastai 2.8
and ignite 0.5 are those of files that the libraries wrote; nnU-Net's, whisper's, NeMo's and those of
sentence-transformers follow their documentation.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import sys
import tarfile
import types
import warnings
import zipfile
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pytest_ckpt_compat import check
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.load import load_weights
from pytest_ckpt_compat._readers import read

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


#: The classes of libraries that need not be installed.
CLASSES: list[Any] = []


def net(last: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, last))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def file(value: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with importable():
            torch.save(value, folder / "file")
        return folder / "file"

    return write


@functools.cache
def foreign(module: str, name: str) -> Any:
    """A class that a pickle finds in another module."""
    kind = type(name, (), {"__module__": module})
    CLASSES.append(kind)
    return kind


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Puts the classes of other modules where a pickle finds them."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in CLASSES:
            parts = kind.__module__.split(".")
            for depth in range(1, len(parts) + 1):
                name = ".".join(parts[:depth])
                patch.setitem(sys.modules, name, sys.modules.get(name, types.ModuleType(name)))
            patch.setattr(sys.modules[kind.__module__], kind.__name__, kind, raising=False)
        yield


def instance(module: str, name: str, **state: Any) -> Any:
    made = foreign(module, name)()
    made.__dict__.update(state)
    return made


def mmengine(**more: Any) -> dict[str, Any]:
    history = instance("mmengine.logging.history_buffer", "HistoryBuffer", _log_history=deque([0.3]))
    meta = {"epoch": 3, "iter": 12, "cfg": "a = 1", "dataset_meta": {"classes": ("a", "b")}}
    hub = {"log_scalars": {"loss": history}, "runtime_info": {"iter": 3}, "resumed_keys": {}}
    return {"meta": meta, "state_dict": net().state_dict(), "message_hub": hub, **more}


def mmengine_ema() -> dict[str, Any]:
    averaged = torch.optim.swa_utils.AveragedModel(net())
    optimizer = adam(net()).state_dict()
    return mmengine(ema_state_dict=averaged.state_dict(), optimizer=optimizer, param_schedulers=[{"a": 1}])


def fastai_export() -> Any:
    model = net()
    dls = instance("fastai.data.core", "DataLoaders", loaders=[], device="cpu")
    callbacks = [instance("fastai.callback.core", "TrainEvalCallback", run=True)]
    return instance("fastai.learner", "Learner", model=model, dls=dls, cbs=callbacks, lr=1e-3, opt=None)


def accelerate(folder: Path) -> Path:
    library: Any = pytest.importorskip("accelerate", reason="writes the directory")
    accelerator = library.Accelerator(cpu=True)
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    accelerator.save_state(str(folder / "state"))  # nothing is prepared yet
    accelerator.prepare(model, optimizer, scheduler)
    accelerator.save_state(str(folder / "state"))
    assert (folder / "state" / "random_states_0.pkl").exists()
    return folder / "state"


def modules(folder: Path, *paths: str) -> None:
    kinds = ("Transformer", "Pooling", "Dense")
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(zip(paths, kinds, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    for path in filter(None, paths):
        (folder / path).mkdir()
        (folder / path / "config.json").write_text("{}")


def sentences(folder: Path) -> Path:
    modules(folder, "", "1_Pooling")
    save_file(net().state_dict(), folder / "model.safetensors")
    return folder


def older_sentences(folder: Path) -> Path:
    modules(folder, "0_Transformer", "1_Pooling")
    torch.save(net().state_dict(), folder / "0_Transformer" / "pytorch_model.bin")
    return folder


NNUNET = {
    "network_weights": net().state_dict(),
    "optimizer_state": adam(net()).state_dict(),
    "grad_scaler_state": None,
    "logging": {"mean_fg_dice": [0.1], "ema_fg_dice": [0.1]},
    "_best_ema": 0.5,
    "current_epoch": 10,
    "init_args": {"plans": {}, "configuration": "3d_fullres", "fold": 0, "dataset_json": {}},
    "trainer_name": "nnUNetTrainer",
    "inference_allowed_mirroring_axes": (0, 1),
}
IGNITE = {"model": net().state_dict(), "optimizer": adam(net()).state_dict()}
TRAINER = {"epoch_length": 2, "max_epochs": 1, "iteration": 2}
WHISPER = {"dims": {"n_mels": 80, "n_vocab": 51865}, "model_state_dict": net().state_dict()}

#: Library and, where the table has them, key -> what writes such a file.
KINDS: dict[str, Callable[[Path], Path]] = {
    "accelerate": accelerate,
    "skorch": file(net().state_dict()),
    "mmengine": file(mmengine()),
    "mmengine with an EMA hook": file(mmengine_ema()),
    "fastai": file({"model": net().state_dict(), "opt": adam(net()).state_dict()}),
    "fastai without its optimizer": file(net().state_dict()),
    "fastai, exported": file(fastai_export()),
    "ignite": file({**IGNITE, "trainer": OrderedDict(TRAINER)}),
    "nnU-Net": file(NNUNET),
    "OpenAI whisper": file(WHISPER),
    "sentence-transformers": sentences,
    "sentence-transformers, older": older_sentences,
    "torch.compile": lambda folder: file(torch.compile(net()))(folder),
    "torch.fx": file(torch.fx.symbolic_trace(net())),
}


def table() -> dict[str, str]:
    """The rows of the page's table: library -> key."""
    text = PAGE.read_text(encoding="utf-8").partition("## Files of training libraries")[2]
    rows = re.findall(r"^\| (.+?) \| .+? \|(.*)\|$", text.partition("\n## ")[0], re.MULTILINE)
    return {kind: key for kind, key in rows if kind not in ("library", "---")}


def test_every_row_has_its_file() -> None:
    assert table().keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_dict_is_found(kind: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = KINDS[kind](tmp_path)
    keys = re.findall(r"`(\w+)`", table()[kind])
    if len(keys) < 2:
        structure = read(path)
        assert structure.source.container == "".join(keys)
        expected = {
            key.replace("_orig_mod.", ""): tuple(value.shape) for key, value in net().state_dict().items()
        }
        found = {key.replace("_orig_mod.", ""): spec.shape for key, spec in structure.tensors.items()}
        assert found == expected
        assert all(key.startswith("_orig_mod.") == (kind == "torch.compile") for key in structure.tensors)
    with importable():
        verdict = check(path, net, strip_prefix="_orig_mod." if kind == "torch.compile" else None)
        assert verdict.compatible, str(verdict)
        assert not check(path, lambda: net(last=3)).compatible


class Holder(nn.Module):
    """A module with what the table's lacks: a traced child, a shared weight, a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = net(), nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("seen", torch.zeros(3), persistent=False)
        self.tied = self.inner[2]  # type: ignore[index]

    def forward(self, x: Any) -> Any:
        return self.inner(x - self.mean - self.seen) * self.scale + torch.tensor([1.0, 2.0])

    forward.__annotations__.clear()  # torch.fx cannot save annotations that are text


@pytest.mark.parametrize("wrap", [lambda m: m, torch.fx.symbolic_trace, torch.compile, lambda m: {"net": m}])
@pytest.mark.parametrize("traced", [False, True])
def test_whole_modules_read_as_torch_saves_them(wrap: Any, traced: bool, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = wrap(torch.fx.symbolic_trace(Holder()) if traced else Holder())
        torch.save(module, tmp_path / "file")
        loaded = torch.load(tmp_path / "file", weights_only=False)
    loaded = loaded["net"] if isinstance(loaded, dict) else loaded
    expected = {key: tuple(value.shape) for key, value in loaded.state_dict().items()}
    assert {key: spec.shape for key, spec in read(tmp_path / "file").tensors.items()} == expected


def stable_baselines3(path: Path, **more: bytes) -> Path:
    def saved(value: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(value, stream)
        return stream.getvalue()

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", '{"policy_class": {":type:": "<class>"}}')
        archive.writestr("pytorch_variables.pth", saved({"log_ent_coef": nn.Parameter(torch.zeros(1))}))
        archive.writestr("policy.pth", saved(net().state_dict()))
        archive.writestr("policy.optimizer.pth", saved(adam(net()).state_dict()))
        archive.writestr("_stable_baselines3_version", "2.9.2")
        for name, content in more.items():
            archive.writestr(name, content)
    return path


def test_stable_baselines3(tmp_path: Path) -> None:
    path = stable_baselines3(tmp_path / "ppo.zip")
    structure = read(path)
    assert structure.source.format == "Stable-Baselines3"
    assert {key: spec.shape for key, spec in structure.tensors.items()} == {
        key: tuple(value.shape) for key, value in net().state_dict().items()
    }
    assert check(path, net).compatible
    assert not check(path, lambda: net(last=3)).compatible
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("_stable_baselines3_version", "2")
    with pytest.raises(ReadError, match="without a policy"):
        read(tmp_path / "empty.zip")
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        archive.writestr("_stable_baselines3_version", "2")
        archive.writestr("policy.pth", b"nothing")
    with pytest.raises(ReadError, match=r"in its part 'policy\.pth', "):
        read(tmp_path / "damaged.zip")


def nemo(path: Path, *names: str) -> Path:
    torch.save(net().state_dict(), path.with_suffix(".pt"))
    content = path.with_suffix(".pt").read_bytes()
    with tarfile.open(path, "w") as archive:
        for name in ("./model_config.yaml", *names):
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["model_weights.ckpt", "./model_weights.ckpt"])
def test_nemo(name: str, tmp_path: Path) -> None:
    path = nemo(tmp_path / "model.nemo", name)
    assert read(path).source.format == "NeMo"
    assert check(path, net).compatible
    assert not check(path, lambda: net(last=3)).compatible


@pytest.mark.parametrize("write", [stable_baselines3, lambda path: nemo(path, "model_weights.ckpt")])
def test_real_weights_are_read_from_inside(write: Callable[[Path], Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = net().state_dict()
    torch.manual_seed(0)
    found = load_weights(find(net), read(write(tmp_path / "archive"))).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_an_old_file_inside_is_read_without_weights(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with tarfile.open(tmp_path / "archive", "w") as archive:
        archive.add(tmp_path / "old.pt", "model_weights.ckpt")
    assert check(tmp_path / "archive", net).compatible
    assert not read(tmp_path / "archive").locations


def test_nemo_with_two_members_of_one_name(tmp_path: Path) -> None:
    path = nemo(tmp_path / "model.nemo", "model_weights.ckpt", "./model_weights.ckpt")
    with pytest.raises(ReadError, match=r"two members named 'model_weights\.ckpt'"):
        read(path)
    content = nemo(path, "model_weights.ckpt").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError):
        read(path)
