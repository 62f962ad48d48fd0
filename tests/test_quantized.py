"""Quantized, sparse, distributed and wrapped tensors: the verdict is that of torch on the file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import NoBaselineError, ReadError
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.weights import is_readable, read_weights
from pytest_ckpt_compat._snapshots import fingerprint
from tests.readers.hostile import WRITERS

quantization: Any = pytest.importorskip("torch.ao.quantization", reason="makes quantized models")
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, about kinds that it deprecates


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def dynamic(dtype: torch.dtype = torch.qint8) -> Any:
    return quantization.quantize_dynamic(plain(), {nn.Linear}, dtype=dtype)


def half() -> Any:
    return dynamic(torch.float16)


def recurrent() -> Any:
    kinds = {nn.LSTM, nn.GRU}
    return quantization.quantize_dynamic(nn.Sequential(nn.LSTM(4, 5), nn.GRU(5, 3)), kinds, dtype=torch.qint8)


class Static(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.dequant(self.fc(self.norm(self.conv(self.quant(x))).mean((2, 3))))


def prepared() -> Any:
    model: Any = quantization.fuse_modules(Static().eval(), [["conv", "norm"]])
    model.qconfig = quantization.QConfig(
        activation=quantization.MinMaxObserver.with_args(reduce_range=True),
        weight=quantization.default_per_channel_weight_observer,
    )
    return quantization.prepare(model)


def static() -> Any:
    model = prepared()
    model(torch.ones(1, 3, 4, 4))
    return quantization.convert(model)


def embedding() -> Any:
    model: Any = nn.Sequential(nn.Embedding(10, 16), nn.EmbeddingBag(10, 16))
    model.qconfig = quantization.float_qparams_weight_only_qconfig
    return quantization.convert(quantization.prepare(model))


def torchs_word(path: Path, define: Callable[[], Any]) -> bool:
    value = torch.load(path, weights_only=False)
    try:
        define().load_state_dict(value.state_dict() if isinstance(value, nn.Module) else value)
    except Exception:
        return False
    return True


PAIRS = [
    (dynamic, dynamic), (dynamic, plain), (dynamic, half), (half, half), (half, dynamic), (plain, dynamic),
    (recurrent, recurrent), (static, static), (static, prepared), (prepared, static), (embedding, embedding),
]  # fmt: skip


@pytest.mark.parametrize("whole", [False, True], ids=["state_dict", "module"])
@pytest.mark.parametrize(("saved", "defined"), PAIRS)
def test_quantized_models(
    tmp_path: Path, saved: Callable[[], Any], defined: Callable[[], Any], whole: bool
) -> None:
    path = tmp_path / "net.pt"
    model = saved()
    if whole and saved is prepared:
        pytest.skip("torch cannot pickle its observers")
    torch.save(model if whole else model.state_dict(), path)
    if whole and saved is static:
        with pytest.raises(ReadError, match=r"its module conv .* in a form of its own.*model\.state_dict"):
            ckpt.read(path)
        return
    structure = ckpt.read(path)
    assert list(structure.tensors) == list(model.state_dict())
    if whole and structure.versions is not None:
        metadata = model.state_dict()._metadata
        assert structure.versions == {k: v["version"] for k, v in metadata.items() if v["version"] != 1}
    assert ckpt.check(path, defined).compatible is torchs_word(path, defined)


def test_a_snapshot_that_keeps_no_objects_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    """The file itself loads: to save other values in it was no help."""
    torch.save(dynamic().state_dict(), tmp_path / "net.pt")
    structure = ckpt.read(tmp_path / "net.pt")
    assert check_structure(structure, find(dynamic), Policy()).compatible
    stored = fingerprint.loads(fingerprint.dumps(structure), "net.json")
    with pytest.raises(NoBaselineError) as raised:
        check_structure(stored, find(dynamic), Policy())
    assert str(raised.value).endswith(
        "the load needs the value of 0._packed_params.dtype, an object, and a snapshot keeps none; "
        "check against the checkpoint file itself, not a snapshot"
    )


@pytest.mark.parametrize("saved", [dynamic, half, static, embedding])
def test_the_numbers_of_quantized_models(tmp_path: Path, saved: Callable[[], Any]) -> None:
    torch.save(saved().state_dict(), tmp_path / "net.pt")
    structure = ckpt.read(tmp_path / "net.pt")
    loaded = torch.load(tmp_path / "net.pt", weights_only=False)
    assert is_readable(structure)
    for key, value in read_weights(structure).items():
        same(value, loaded[key])


def same(ours: Any, torchs: Any) -> None:
    if isinstance(ours, tuple):
        assert len(ours) == len(torchs)
        for left, right in zip(ours, torchs, strict=True):
            same(left, right)
    elif isinstance(ours, torch.Tensor) and ours.is_quantized:
        assert ours.qscheme() == torchs.qscheme()
        assert ours.dtype == torchs.dtype
        torch.testing.assert_close(ours.dequantize(), torchs.dequantize(), rtol=0, atol=0, equal_nan=True)
    elif isinstance(ours, torch.Tensor):
        torch.testing.assert_close(
            ours.to_dense(), torchs.detach().to_dense(), rtol=0, atol=0, equal_nan=True
        )
    else:
        assert ours == torchs


def kinds() -> dict[str, torch.Tensor]:
    """One tensor of each kind that has rules of its own for copies."""
    eye, ones, zeros = torch.eye(4), torch.ones(4), torch.zeros(4)
    by_channel: Any = torch.quantize_per_channel
    return {
        "dense": eye,
        "quantized": torch.quantize_per_tensor(eye, 0.1, 0, torch.qint8),
        "by row": by_channel(eye, ones, zeros.long(), 0, torch.qint8),
        "by row, floats": by_channel(eye, ones, zeros, 0, torch.quint8),
        "coo": eye.to_sparse(),
        "csr": eye.to_sparse_csr(),
        "full csr": torch.ones(4, 4).to_sparse_csr(),
        "csc": eye.to_sparse_csc(),
        "bsr": eye.to_sparse_bsr((2, 2)),
    }


def holding(kind: str) -> nn.Module:
    module = nn.Module()
    module.register_buffer("x", kinds()[kind])
    module.register_buffer("y", torch.ones(1))
    return module


KINDS = ("dense", "quantized", "by row", "by row, floats", "coo", "csr", "full csr", "csc", "bsr")


@pytest.mark.parametrize("saved", KINDS)
def test_every_kind_into_every_other(tmp_path: Path, saved: str) -> None:
    path = tmp_path / "net.pt"
    torch.save({"x": kinds()[saved], "y": torch.ones(1)}, path)
    structure = ckpt.read(path)
    same(read_weights(structure)["x"], kinds()[saved])
    for kind in KINDS:
        word = torchs_word(path, lambda: holding(kind))  # noqa: B023 - called at once
        assert ckpt.check(path, lambda: holding(kind)).compatible is word, kind  # noqa: B023
    stored = fingerprint.loads(fingerprint.dumps(structure), "net.json")
    definition = find(lambda: holding(saved))
    if structure.tensors["x"].dtype.startswith(("sparse_cs", "sparse_bs")):
        with pytest.raises(ReadError, match="a snapshot does not keep"):
            check_structure(stored, definition, Policy())
    else:
        assert check_structure(stored, definition, Policy()).compatible is torchs_word(
            path, lambda: holding(saved)
        )


class Scaled(torch.Tensor):
    """A wrapper of integers and a scale, as torchao's are."""

    q: torch.Tensor
    scale: float

    @staticmethod
    def __new__(cls, q: torch.Tensor, scale: float = 1.0, requires_grad: bool = False) -> Scaled:
        make: Any = torch.Tensor._make_wrapper_subclass
        made: Scaled = make(cls, q.shape, dtype=torch.float32)
        made.q, made.scale = q, scale
        return made

    def __tensor_flatten__(self) -> tuple[list[str], float]:
        return ["q"], self.scale

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.copy_.default and all(isinstance(each, Scaled) for each in args[:2]):
            args[0].q.copy_(args[1].q)
            return args[0]
        if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return Scaled(args[0].q, args[0].scale)
        raise NotImplementedError(f"{func} of {cls.__name__}")


def scaled(rows: int = 4) -> nn.Module:
    module = nn.Linear(3, rows)
    wrapped = Scaled(torch.ones(rows, 3, dtype=torch.int8), 0.5)
    module.weight = nn.Parameter(wrapped, requires_grad=False)
    return module


def test_a_tensor_subclass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    torch.save(scaled().state_dict(), path)
    structure = ckpt.read(path)
    assert structure.tensors["weight"].dtype == f"{__name__}.Scaled.float32"
    assert structure.tensors == ckpt.define(scaled).tensors
    for define in (scaled, lambda: scaled(5), lambda: nn.Linear(3, 4)):
        assert ckpt.check(path, define).compatible is torchs_word(path, define)
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "plain.pt")
    assert fingerprint.digest(structure) != fingerprint.digest(ckpt.read(tmp_path / "plain.pt"))
    assert not ckpt.check(tmp_path / "plain.pt", scaled).compatible
    stored = fingerprint.loads(fingerprint.dumps(structure), "net.json")
    with pytest.raises(ReadError, match=r"Scaled, .* objects that are not read"):
        check_structure(stored, find(scaled), Policy())
    monkeypatch.delattr(sys.modules[__name__], "Scaled")
    with pytest.raises(ReadError, match=r"Scaled, which nothing here imports"):
        ckpt.check(path, lambda: nn.Linear(3, 4))


def test_torchao(tmp_path: Path) -> None:
    torchao = pytest.importorskip("torchao.quantization", reason="makes the tensors")

    def linear() -> nn.Module:
        return nn.Sequential(nn.Linear(32, 64))

    def int8(rows: int = 64) -> nn.Module:
        module = nn.Sequential(nn.Linear(32, rows))
        torchao.quantize_(module, torchao.Int8WeightOnlyConfig())
        return module

    torch.save(int8().state_dict(), tmp_path / "net.pt")
    for define, loads in ((int8, True), (linear, False), (lambda: int8(96), False)):
        assert torchs_word(tmp_path / "net.pt", define) is loads
        assert ckpt.check(tmp_path / "net.pt", define).compatible is loads


def test_one_ranks_file_of_a_distributed_run(tmp_path: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    tensor = pytest.importorskip("torch.distributed.tensor", reason="makes the tensors")
    if not hasattr(tensor, "Shard"):
        pytest.skip("this torch has distributed tensors in a private place")
    path = tmp_path / "net.pt"
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        state = plain().state_dict()
        parts = {k: tensor.distribute_tensor(v, mesh, [tensor.Shard(0)]) for k, v in state.items()}
        torch.save(parts, path)
    finally:
        dist.destroy_process_group()
    assert torchs_word(path, plain) is False
    verdict = ckpt.check(path, plain)
    assert not verdict.compatible
    assert any("the file is one rank's" in note and "full_state_dict=True" in note for note in verdict.notes)
    with pytest.raises(ReadError, match="one rank's file"):
        read_weights(ckpt.read(path))
    stored = fingerprint.loads(fingerprint.dumps(ckpt.read(path)), "net.json")
    assert not check_structure(stored, find(plain), Policy()).compatible


def test_tensors_inside_extra_state_are_given_to_the_definition(tmp_path: Path) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.scale = torch.tensor(1.0)

        def get_extra_state(self) -> Any:
            return {"scale": self.scale, "dtype": torch.float32}

        def set_extra_state(self, state: Any) -> None:
            assert state["dtype"] is torch.float32
            if float(state["scale"]) != 1.0:
                raise ValueError("another scale")

    model = Scale()
    for scale, loads in ((1.0, True), (2.0, False)):
        model.scale = torch.tensor(scale)
        torch.save(model.state_dict(), tmp_path / "net.pt")
        verdict = ckpt.check(tmp_path / "net.pt", Scale)
        assert verdict.compatible is loads
        assert not any("not read" in note for note in verdict.notes)


@pytest.mark.parametrize("kind", ["contents: tensors that share tensors", "contents: a tensor inside itself"])
def test_hostile_parts_are_refused(tmp_path: Path, kind: str) -> None:
    structure = ckpt.read(WRITERS[kind](tmp_path))
    with pytest.raises(ReadError):
        check_structure(structure, find(plain), Policy())


@pytest.mark.parametrize("axis", [7, -9, "0", None])
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, axis: object) -> None:
    tensor = kinds()["by row"]
    torch.save({"x": tensor, "y": torch.ones(1)}, tmp_path / "net.pt")
    structure = ckpt.read(tmp_path / "net.pt")
    content = structure.contents["x"]
    broken = replace(content, parts={**content.parts, "axis": axis})
    hostile = replace(structure, contents={"x": broken})
    with pytest.raises(ReadError, match="that torch refuses"):
        check_structure(hostile, find(lambda: holding("by row")), Policy())
