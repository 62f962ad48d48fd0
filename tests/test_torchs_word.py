"""Torch's word on definitions of which little can be known: by their state_dict, a copy or a lenient load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._definition.build import build_real
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.weights import read_weights
from pytest_ckpt_compat._snapshots import fingerprint

Model = Callable[[], nn.Module]


def saved(tmp_path: Path, state: Mapping[str, Any]) -> Path:
    torch.save(state, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def kinds(verdict: ckpt.Verdict) -> set[str]:
    return {change.kind for change in verdict.changes}


class NoArguments(nn.Linear):
    """Its state_dict takes no arguments, so that no module around it can call it."""

    def state_dict(self) -> Any:  # type: ignore[override]
        return super().state_dict()


class Around(nn.Module):
    """Torch loads into it, and saves nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = NoArguments(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("table", torch.zeros(2), persistent=False)


UNSAVED = (
    "state_dict() raised TypeError: NoArguments.state_dict() got an unexpected keyword argument "
    "'destination': no checkpoint of it can be saved"
)


@pytest.mark.parametrize("lacks", ["", "layer.bias"])
def test_a_definition_whose_state_dict_raises_is_loaded_as_any(tmp_path: Path, lacks: str) -> None:
    state = nn.ModuleDict({"layer": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2)}).state_dict()
    state.pop(lacks, None)
    path = saved(tmp_path, state)

    verdict = ckpt.check(path, Around)

    assert verdict.compatible is (lacks != "layer.bias")
    assert kinds(verdict) == ({"missing"} if lacks == "layer.bias" else set())
    assert verdict.notes == (UNSAVED,)
    large = check_structure(ckpt.read(path), find(Around), Policy(memory_budget=0))
    assert large.compatible is verdict.compatible
    assert "its state_dict() raises on tensors without numbers" in large.notes[0]
    with pytest.raises(ckpt.CkptCompatError, match="NoArguments"):
        ckpt.define(Around)


def test_a_copy_of_an_instance_can_be_written_to_where_the_instance_can(tmp_path: Path) -> None:
    expanded, free = nn.ParameterDict(), nn.ParameterDict()
    expanded["w"] = nn.Parameter(torch.zeros(1, 2).expand(3, 2))
    free["w"] = nn.Parameter(torch.zeros(3, 2))
    path = saved(tmp_path, {"w": torch.ones(3, 2)})

    assert not ckpt.check(path, expanded).compatible
    assert ckpt.check(path, free).compatible


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_copy_of_an_instance_shares_what_the_instance_shares_and_nothing_else() -> None:
    whole = torch.zeros(4, 2)
    net: Any = nn.Module()
    net.a, net.b = nn.Parameter(whole[:2]), nn.Parameter(whole[1:].t())
    net.register_buffer("quantized", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
    net.lazy = nn.UninitializedParameter()

    copy: Any = build_real(find(net))

    with torch.no_grad():
        copy.a.fill_(1)
    assert copy.b.stride() == net.b.stride()
    assert copy.b.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert not whole.any()
    assert torch.equal(copy.quantized.dequantize(), net.quantized.dequantize())
    assert copy.lazy is not net.lazy


class FreshState(nn.Module):
    """Its extra state is a new tensor at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def get_extra_state(self) -> torch.Tensor:
        return torch.ones(2)

    def set_extra_state(self, state: torch.Tensor) -> None:
        state + torch.ones(2)


class FreshTensors(nn.Linear):
    """Saves copies, as packed layers do."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.weight.detach().clone()


class SavesMore(nn.Linear):
    """Saves a new tensor each time, which it never loads."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self._register_state_dict_hook(self._add)  # type: ignore[no-untyped-call]

    @staticmethod
    def _add(_module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
        state[prefix + "extra"] = torch.ones(2)


class Packs(nn.Module):
    """Keeps its numbers outside of torch, in a layer that a hook gives what has another name in the file."""

    def __init__(self, read: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.numbers: Any = [0.0, 0.0]
        self.read = read
        self._register_load_state_dict_pre_hook(self._hook)  # type: ignore[no-untyped-call]

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        state["weight"] = state["old"]  # the old one stays where it is

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = torch.tensor(self.numbers)

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state, prefix, *rest)
        self.numbers = self.read(state[prefix + "weight"])


READS: dict[str, Callable[[torch.Tensor], Any]] = {
    "list": lambda t: t.tolist(),
    "item": lambda t: [t[0].item(), t[1].item()],
    "sum": lambda t: [float(t.sum()), 0.0],
    "numpy": lambda t: t.numpy().tolist(),
}


@pytest.mark.parametrize("name", READS)
def test_numbers_that_are_taken_out_of_torch_are_reached(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, {"old": torch.ones(2)})
    verdict = ckpt.check(path, lambda: Packs(READS[name]), strict=False)
    assert kinds(verdict) <= {"unexpected"}


def sparse() -> nn.Module:
    net = nn.Module()
    net.register_buffer("table", torch.eye(2).to_sparse())
    return net


PREFIXED: dict[str, Model] = {
    "extra state": lambda: nn.ModuleDict({"net": FreshState()}),
    "more": lambda: nn.ModuleDict({"net": SavesMore()}),
    "fresh tensors": lambda: nn.ModuleDict({"net": FreshTensors(2, 2)}),
    "lazy": lambda: nn.ModuleDict({"net": nn.LazyLinear(2)}),
    "sparse": lambda: nn.ModuleDict({"net": sparse()}),
}


@pytest.mark.parametrize("name", PREFIXED)
def test_a_lenient_load_under_another_prefix_brings_in_nothing(tmp_path: Path, name: str) -> None:
    own = PREFIXED[name]().state_dict() if name != "lazy" else nn.Linear(3, 2).state_dict()
    other = {f"other.{key.removeprefix('net.')}": value for key, value in own.items()}

    assert "nothing-loaded" in kinds(ckpt.check(saved(tmp_path, other), PREFIXED[name], strict=False))

    right = {key.replace("other.", "net."): value for key, value in other.items()}
    assert "nothing-loaded" not in kinds(ckpt.check(saved(tmp_path, right), PREFIXED[name], strict=False))


def test_an_uninitialized_file_has_nothing_to_lose(tmp_path: Path) -> None:
    path = saved(tmp_path, {f"other.{key}": value for key, value in nn.LazyLinear(2).state_dict().items()})
    assert "nothing-loaded" not in kinds(ckpt.check(path, lambda: nn.Linear(2, 2), strict=False))


class ReadsAndLeavesOut(nn.Linear):
    """Looks at numbers, and then takes nothing."""

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        if prefix + "weight" in state and state[prefix + "weight"].max().item() > 0:
            del state[prefix + "weight"], state[prefix + "bias"]
        super()._load_from_state_dict(state, prefix, *rest)


def test_code_that_reads_numbers_and_takes_nothing_brings_in_nothing(tmp_path: Path) -> None:
    for sign, nothing in ((1, True), (-1, False)):
        path = saved(tmp_path, {"weight": sign * torch.ones(2, 2), "bias": torch.ones(2)})
        verdict = ckpt.check(path, lambda: ReadsAndLeavesOut(2, 2), strict=False)
        assert ("nothing-loaded" in kinds(verdict)) is nothing


class Selects(nn.Module):
    """Its hook makes tensors of which numbers decide the shape, or whether they stay."""

    def __init__(self, select: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.select = select
        self._register_load_state_dict_pre_hook(self._hook)  # type: ignore[no-untyped-call]

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        state["weight"] = self.select(state["weight"])


SELECTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "nonzero": lambda t: t.nonzero().flatten().float(),
    "mask": lambda t: t[t > 0],
    "masked_select": lambda t: t.masked_select(t > 0),
    "unique": torch.unique,
    "allclose": lambda t: t if torch.allclose(t, torch.arange(4.0)[1:]) else t[:2],
}


@pytest.fixture
def default_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sets torch's default device, as a project may: every call then passes a mode of torch's."""
    torch.set_default_device(request.param)
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize("default_device", [None, "cpu"], indirect=True)
@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.usefixtures("default_device")
def test_numbers_that_decide_a_shape_are_not_taken_from_a_snapshot(tmp_path: Path, name: str) -> None:
    def model() -> nn.Module:
        return Selects(SELECTIONS[name])

    for values, loads in (([1.0, 2.0, 3.0], True), ([0.0, 0.0, 3.0], False)):
        path = saved(tmp_path, {"weight": torch.tensor(values)})
        assert ckpt.check(path, model).compatible is loads
        recorded = fingerprint.loads(fingerprint.dumps(ckpt.read(path)), "net.json")
        with pytest.raises(ckpt.CkptCompatError, match="reads the values of tensors"):
            check_structure(recorded, find(model), Policy())


def test_numbers_that_decide_no_shape_do_not_matter(tmp_path: Path) -> None:
    recorded = fingerprint.loads('{"tensors": {"weight": "float32[5]"}}', "net.json")
    for select in (lambda t: t[torch.arange(3)], lambda t: t[torch.arange(5) > 1], lambda t: t.relu()[:3]):
        assert check_structure(recorded, find(lambda s=select: Selects(s)), Policy()).compatible


def test_nothing_is_written_to_what_inference_mode_made(tmp_path: Path) -> None:
    def model() -> nn.Module:
        with torch.inference_mode():
            return nn.BatchNorm1d(2)

    path = saved(tmp_path, nn.BatchNorm1d(2).state_dict())
    assert not ckpt.check(path, model).compatible
    assert not ckpt.check(path, model()).compatible
    with torch.device("meta"):
        without_numbers = model()
    assert not ckpt.check(path, without_numbers).compatible
    assert ckpt.check(path, nn.BatchNorm1d(2)).compatible


class SetsData(nn.Linear):
    """Puts the file's tensors in place of its own."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        self.weight.data = state_dict["weight"]


def test_a_model_that_is_built_on_meta_is_loaded_on_meta(tmp_path: Path) -> None:
    def model() -> nn.Module:
        with torch.device("meta"):
            return SetsData(2, 2)

    path = saved(tmp_path, nn.Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="incompatible tensor type"):
        model().load_state_dict(torch.load(path))
    for each in (model, model()):
        assert not ckpt.check(path, each).compatible


def test_a_file_that_was_saved_from_the_meta_device_has_no_numbers_to_load(tmp_path: Path) -> None:
    state = nn.Linear(2, 2).state_dict()
    path = saved(tmp_path, {"weight": state["weight"].to("meta"), "bias": state["bias"]})
    with pytest.raises(RuntimeError, match="no data"):
        nn.Linear(2, 2).load_state_dict(torch.load(path))

    assert not ckpt.check(path, lambda: nn.Linear(2, 2)).compatible
    recorded = fingerprint.loads(fingerprint.dumps(ckpt.read(path)), "net.json")
    assert not check_structure(recorded, find(lambda: nn.Linear(2, 2)), Policy()).compatible


class RegistersLate(nn.Linear):
    """Gets a buffer when it is saved, not before."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.register_state_dict_pre_hook(lambda module, *_: module.register_buffer("late", torch.ones(1)))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("saver", [RegistersLate, lambda: nn.Linear(2, 2)])
def test_asking_for_the_state_dict_does_not_change_what_is_loaded(tmp_path: Path, saver: Model) -> None:
    path = saved(tmp_path, saver().state_dict())
    new = RegistersLate()
    loads = "late" not in torch.load(path)
    assert ckpt.check(path, RegistersLate).compatible is loads
    assert ckpt.check(path, new).compatible is loads
    assert not hasattr(new, "late")
    other = saved(tmp_path, {"weights": torch.ones(2, 2)})
    assert "nothing-loaded" in kinds(ckpt.check(other, RegistersLate, strict=False))


class KeepsTheTransposed(nn.Module):
    """Takes only what is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self._register_load_state_dict_pre_hook(self._hook)  # type: ignore[no-untyped-call]

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        if state["weight"].is_contiguous():
            del state["weight"]


@pytest.mark.parametrize("transposed", [True, False])
def test_a_snapshot_keeps_the_strides(tmp_path: Path, transposed: bool) -> None:
    weight = torch.ones(3, 2).t() if transposed else torch.ones(2, 3)
    structure = ckpt.read(saved(tmp_path, {"weight": weight}))
    text = fingerprint.dumps(structure)
    assert ('"weight": [1, 2]' in text) is transposed
    recorded = fingerprint.loads(text, "net.json")
    assert dict(recorded.strides) == dict(structure.strides)
    assert check_structure(recorded, find(KeepsTheTransposed), Policy()).compatible is transposed


class Uppers(nn.Linear):
    """Its extra state has to be text."""

    def get_extra_state(self) -> Any:
        return "text"

    def set_extra_state(self, state: Any) -> None:
        state.upper()


@pytest.mark.parametrize("value", ["text", 3, ["text"], (1, "x"), {"a": None}, {1: 2}, float("nan"), b"x"])
def test_a_snapshot_keeps_extra_state_that_it_can_give_back(tmp_path: Path, value: Any) -> None:
    path = saved(tmp_path, {**nn.Linear(2, 2).state_dict(), "_extra_state": value})
    recorded = fingerprint.loads(fingerprint.dumps(ckpt.read(path)), "net.json")
    assert recorded.objects in ({}, {"_extra_state": value})

    found = check_structure(recorded, find(lambda: Uppers(2, 2)), Policy())

    told = "_extra_state: its value is of a class that is not read, so set_extra_state was not called"
    assert found.compatible is ckpt.check(path, lambda: Uppers(2, 2)).compatible or found.notes == (told,)
    assert bool(recorded.objects) is (value == value), "all but a number that is not itself"
    assert (not recorded.objects) is (found.notes == (told,))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"strides": {"w": [1]}', "cannot be its stride"),
        ('"strides": {"v": [1, 1]}', "cannot be its stride"),
        ('"strides": {"w": [1, -1]}', "cannot be its stride"),
        ('"strides": {"w": [1, 4611686018427387904]}', "cannot be its stride"),
        ('"strides": {"w": [1, 1.5]}', "cannot be its stride"),
        ('"objects": {"w": "1"}', "no object"),
        ('"objects": {"v": "1"}', "no object"),
        ('"objects": {"o": "print(1)"}', "malformed"),
        ('"objects": {"o": "("}', "no literal"),
        ('"objects": {"o": 1}', "not a fingerprint"),
    ],
)
def test_a_snapshot_with_what_cannot_be_is_refused(fields: str, problem: str) -> None:
    with pytest.raises(ckpt.CkptCompatError, match=problem):
        fingerprint.loads(f'{{"tensors": {{"w": "float32[2, 2]", "o": "object"}}, {fields}}}', "net.json")


def test_a_snapshot_with_far_strides_is_not_allocated() -> None:
    text = '{"tensors": {"weight": "float32[2, 3]"}, "strides": {"weight": [1, 1099511627776]}}'
    verdict = check_structure(fingerprint.loads(text, "net.json"), find(lambda: nn.Linear(2, 2)), Policy())
    assert "memory_budget" in verdict.notes[0]


@pytest.mark.parametrize("new_format", [True, False])
def test_what_shares_a_storage_in_torch_shares_one_in_a_check(tmp_path: Path, new_format: bool) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    state = {"rows": whole[2:], "turned": whole.t(), "alone": torch.ones(5)[1:3], "tied": whole[2:]}
    state["again"] = state["rows"]
    path = tmp_path / "net.pt"
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    loaded, read = torch.load(path), read_weights(ckpt.read(path))

    for key, tensor in loaded.items():
        assert torch.equal(read[key], tensor)
        assert read[key].stride() == tensor.stride()
        assert read[key].storage_offset() == tensor.storage_offset()
        assert read[key].untyped_storage().nbytes() == tensor.untyped_storage().nbytes()
    assert len({tensor.untyped_storage().data_ptr() for tensor in read.values()}) == 2
    assert loaded["again"] is loaded["rows"] is not loaded["tied"]
    assert read["again"] is read["rows"] is not read["tied"]


class Tied(nn.Module):
    """Its hook takes no head that is not the very object that the embedding is."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 2)
        self.head = nn.Linear(2, 4, bias=False)
        self.head.weight = self.embed.weight

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        if state[f"{prefix}head.weight"] is not state[f"{prefix}embed.weight"]:
            del state[f"{prefix}head.weight"]
        super()._load_from_state_dict(state, prefix, *rest)


@pytest.mark.parametrize("made", ["state_dict", "one object", "whole"])
def test_tied_weights_are_one_object_only_where_the_file_has_one(tmp_path: Path, made: str) -> None:
    module, path = Tied(), tmp_path / "net.pt"
    state = module.state_dict()
    if made == "one object":
        state["head.weight"] = state["embed.weight"]
    torch.save(module if made == "whole" else state, path)
    loaded = torch.load(path, weights_only=False)
    loaded = loaded.state_dict() if made == "whole" else loaded
    try:
        Tied().load_state_dict(loaded)
    except RuntimeError:
        assert kinds(ckpt.check(path, Tied)) & {"missing"}
    else:
        assert made == "one object"
        assert ckpt.check(path, Tied).compatible


class DropsWhatIsCut(nn.Linear):
    """Its hook takes no tensor out of the middle of a storage."""

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        if state[prefix + "weight"].storage_offset():
            del state[prefix + "weight"]
        super()._load_from_state_dict(state, prefix, *rest)


@pytest.mark.parametrize("cut", [True, False])
def test_an_offset_is_the_files(tmp_path: Path, cut: bool) -> None:
    weight = torch.ones(3, 2)[1:] if cut else torch.ones(2, 2)
    path = saved(tmp_path, {"weight": weight, "bias": torch.ones(2)})
    assert ckpt.check(path, lambda: DropsWhatIsCut(2, 2)).compatible is not cut
    recorded = fingerprint.loads(fingerprint.dumps(ckpt.read(path)), "net.json")
    with pytest.raises(ckpt.CkptCompatError, match="check against the checkpoint file itself"):
        check_structure(recorded, find(lambda: DropsWhatIsCut(2, 2)), Policy())


class AsksUnderADevice(nn.Module):
    """Asks a tensor what it is where torch makes all tensors on a device."""

    def __init__(self) -> None:
        super().__init__()
        with torch.device("cpu"):
            self.a = nn.Linear(2, 2)
            self.b = nn.Linear(1 if self.a.weight.is_meta else 2, 2)


def test_a_question_under_a_device_is_noticed(tmp_path: Path) -> None:
    assert ckpt.check(saved(tmp_path, AsksUnderADevice().state_dict()), AsksUnderADevice).changes == ()
    assert ckpt.define(AsksUnderADevice).tensors["b.weight"].shape == (2, 2)


@pytest.mark.filterwarnings("ignore:for table")
def test_what_cannot_be_observed_is_taken_to_be_loaded(tmp_path: Path) -> None:
    def on_meta() -> nn.Module:
        net = nn.Module()
        net.register_buffer("table", torch.eye(2, device="meta"))
        return net

    path = saved(tmp_path, {"table": torch.eye(2).to_sparse()})
    on_meta().load_state_dict(torch.load(path))
    assert ckpt.check(path, on_meta).compatible
