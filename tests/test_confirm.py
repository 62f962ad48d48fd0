"""Tensors without numbers are not the last word: what is red or in doubt is loaded for real."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._definition.build import build, build_real
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._snapshots import fingerprint

Model = Callable[[], nn.Module]


def torch_loads(path: Path, model: Model, strict: bool = True) -> bool:
    """Whether torch loads the file into a really built model."""
    state = torch.load(path, weights_only=False)
    try:
        build_real(find(model)).load_state_dict(state, strict=strict)
    except (RuntimeError, ValueError, NotImplementedError, KeyError):
        return False
    return True


def saved(tmp_path: Path, state: Mapping[str, Any]) -> Path:
    torch.save(state, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def of(model: Model) -> Mapping[str, Any]:
    """The state_dict of a really built model."""
    return build_real(find(model)).state_dict()


def two(**extra: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2), **extra}


class Hooked(nn.Module):
    """Two layers, and a hook that a subclass gives."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self._register_load_state_dict_pre_hook(self._hook)  # type: ignore[no-untyped-call]

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        raise NotImplementedError


class TiedByAddress(Hooked):
    """Takes ``b`` for a tied weight, and drops it, where it has the address of ``a``."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        if state["a.weight"].data_ptr() == state["b.weight"].data_ptr():
            del state["b.weight"]


class DropsWithoutNumpy(Hooked):
    """Drops what numpy does not take."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        for key in list(state):
            if not self._taken(state[key]):
                del state[key]

    def _taken(self, value: torch.Tensor) -> bool:
        try:
            value.numpy()
        except TypeError:
            return False
        return True


class RefusesMeta(Hooked):
    """Wants real tensors."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        if any(value.is_meta for value in state.values()):
            raise ValueError("materialize the checkpoint first")


class ByDevice(Hooked):
    """Finds what to do in a table."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        {"cpu": lambda: None, "cuda": lambda: None}[state["a.weight"].device.type]()


class TransposesBack(Hooked):
    """Knows a transposed tensor by its strides."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        if not state["c.weight"].is_contiguous():
            state["b.weight"] = state["c.weight"].t()
        del state["c.weight"]


class CatchesItsFailure(nn.Module):
    """A buffer exists only where a number could be read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        try:
            self.register_buffer("scale", torch.tensor(float(self.layer.weight.detach().abs().max())))
        except Exception:
            self.scale = None


class DrawsASize(nn.Module):
    """A size depends on a random number that is drawn after an initialisation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(4, 4)
        size = int(torch.randint(2, 99, (1,)))
        self.b = nn.Linear(size, size)


class Expanded(nn.Module):
    """All elements of a parameter are one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1).expand(2))


class ExpandedBuffer(nn.Module):
    """All elements of a buffer are one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.zeros(1).expand(2))


class Tagged(nn.Parameter):
    """A parameter that cannot be made without a tag."""

    def __new__(cls, data: torch.Tensor, tag: str) -> Tagged:
        made: Any = torch.Tensor._make_subclass(cls, data)
        made.tag = tag
        return made  # type: ignore[no-any-return]


class WithTag(nn.Module):
    """Holds such a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = Tagged(torch.zeros(3), "tag")


class NoKeepVars(nn.Module):
    """Its state_dict takes no arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def state_dict(self) -> Any:  # type: ignore[override]
        return super().state_dict()


class CountsInExtraState(nn.Module):
    """Its extra state is a number of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.steps: torch.Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64), persistent=False)

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": int(self.steps.item())}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.steps.fill_(state["steps"])


def orthogonal() -> nn.Module:
    return parametrizations.orthogonal(nn.Linear(3, 4))


def holding(dtype: torch.dtype) -> Model:
    def made() -> nn.Module:
        module = nn.Module()
        module.register_buffer("a", torch.zeros(4, dtype=torch.uint8).view(dtype))
        return module

    return made


OWN: list[Model] = [
    orthogonal,
    CatchesItsFailure,
    DrawsASize,
    Expanded,
    ExpandedBuffer,
    WithTag,
    NoKeepVars,
    CountsInExtraState,
    lambda: nn.LazyLinear(3),
    lambda: nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()),
]


@pytest.mark.parametrize("model", OWN)
@pytest.mark.filterwarnings("ignore")
def test_a_definition_and_its_own_file(tmp_path: Path, model: Model) -> None:
    path = saved(tmp_path, of(model))
    verdict = ckpt.check(path, model)
    assert verdict.compatible is torch_loads(path, model)
    recorded = check_structure(replace(ckpt.read(path), locations={}), find(model), Policy())
    assert recorded.compatible is verdict.compatible
    shapes = {
        key: () if torch.nn.parameter.is_lazy(value) or not torch.is_tensor(value) else tuple(value.shape)
        for key, value in of(model).items()
    }
    assert {key: spec.shape for key, spec in ckpt.define(model).tensors.items()} == shapes


@pytest.mark.parametrize("model", [orthogonal, CatchesItsFailure, DrawsASize, CountsInExtraState])
@pytest.mark.parametrize("strict", [True, False])
def test_a_definition_and_a_file_that_lacks_a_key(tmp_path: Path, model: Model, strict: bool) -> None:
    for key in of(model):
        path = saved(tmp_path, {name: value for name, value in of(model).items() if name != key})
        assert ckpt.check(path, model, strict=strict).compatible is torch_loads(path, model, strict)


LAZY: dict[str, Model] = {
    "lazy": lambda: nn.LazyLinear(3),
    "plain": lambda: nn.Linear(2, 3),
    "other": lambda: nn.Linear(2, 4),
    "bare": nn.ReLU,
    "extra": CountsInExtraState,
}


@pytest.mark.parametrize("old", LAZY)
@pytest.mark.parametrize("new", LAZY)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_shape_or_no_tensor(tmp_path: Path, old: str, new: str, strict: bool) -> None:
    state = {k: v for k, v in of(LAZY[old]).items() if not k.startswith("layer")}
    path = saved(tmp_path, state)
    loads = torch_loads(path, LAZY[new], strict)
    verdict = ckpt.check(path, LAZY[new], strict=strict)
    nothing = "nothing-loaded" in {change.kind for change in verdict.changes}
    assert verdict.compatible is (loads and not nothing)
    recorded = fingerprint.loads(fingerprint.dumps(ckpt.read(path)), "model.json")
    assert check_structure(recorded, find(LAZY[new]), Policy(strict=strict)).compatible is verdict.compatible


SHARED = torch.ones(2, 2)
STATES = {
    "plain": two(),
    "tied": {"a.weight": SHARED, "b.weight": SHARED},
    "transposed": {"a.weight": torch.ones(2, 2), "c.weight": torch.ones(2, 2).t()},
    "straight": {"a.weight": torch.ones(2, 2), "c.weight": torch.ones(2, 2)},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("model", [TiedByAddress, DropsWithoutNumpy, RefusesMeta, ByDevice, TransposesBack])
def test_a_hook_that_asks_tensors_what_they_are(tmp_path: Path, model: Model, state: str) -> None:
    path = saved(tmp_path, STATES[state])
    assert ckpt.check(path, model).compatible is torch_loads(path, model)


@pytest.mark.parametrize("model", [RefusesMeta, ByDevice, TiedByAddress])
def test_a_hook_that_asks_for_no_numbers_is_judged_from_a_snapshot(tmp_path: Path, model: Model) -> None:
    path = saved(tmp_path, two())
    snapshot = replace(ckpt.read(path), locations={})
    assert check_structure(snapshot, find(model), Policy()).compatible is torch_loads(path, model)


DTYPES = [
    torch.uint8,
    torch.float32,
    torch.float8_e5m2,
    *(getattr(torch, name) for name in ("float4_e2m1fn_x2", "bits8") if hasattr(torch, name)),
]


@pytest.mark.parametrize("old", DTYPES)
@pytest.mark.parametrize("new", DTYPES)
@pytest.mark.filterwarnings("ignore")
def test_rare_dtypes(tmp_path: Path, old: torch.dtype, new: torch.dtype) -> None:
    path = saved(tmp_path, of(holding(old)))
    loads = torch_loads(path, holding(new))
    assert ckpt.check(path, holding(new)).compatible is loads


def test_what_is_too_large_says_that_it_was_not_confirmed(tmp_path: Path) -> None:
    structure = ckpt.read(saved(tmp_path, {**two(), "c.weight": torch.ones(1)}))

    class Asks(Hooked):
        def _hook(self, state: dict[str, Any], *_: object) -> None:
            if state["a.weight"].is_meta:
                state.pop("c.weight", None)

    found = [check_structure(structure, find(Asks), Policy(memory_budget=n)) for n in (67, 68)]
    assert [each.compatible for each in found] == [True, False]
    assert found[0].notes == (
        "in doubt because its code asks a tensor for is_meta; "
        "not confirmed with real tensors: they take 68 bytes, memory_budget is 67 bytes",
    )
    assert found[1].notes == ()


def test_a_plain_model_is_in_no_doubt_and_is_built_once(tmp_path: Path) -> None:
    built = []

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            built.append(1)
            layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
            self.body = nn.TransformerEncoder(layer, 2)
            self.position = nn.Parameter(torch.randn(1, 3, 4))
            nn.init.trunc_normal_(self.position)
            self.rates = [x.item() for x in torch.linspace(0, 1, 3)] and None
            self.lstm = nn.LSTM(2, 2)
            self.norm = nn.BatchNorm1d(3)

    path = saved(tmp_path, Plain().state_dict())
    built.clear()
    assert ckpt.check(path, Plain).changes == ()
    assert len(built) == 1


def test_doubts_about_a_constructor_that_draws() -> None:
    doubts = Doubts()
    build(find(DrawsASize), doubts=doubts)
    assert list(doubts.reasons) == [
        "its constructor reads random numbers after an initialisation that was skipped"
    ]


def uncopyable(kind: str) -> nn.Module:
    net: Any = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    if kind == "lock":
        net.lock = threading.Lock()
    elif kind == "generator":
        net.batches = (n for n in range(3))
    elif kind == "cache":
        net.cache = net(torch.ones(1, 2))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net[0] = nn.utils.weight_norm(net[0])
        net(torch.ones(1, 2))
    return net  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["lock", "generator", "cache", "weight_norm"])
def test_an_instance_that_deepcopy_refuses(tmp_path: Path, kind: str) -> None:
    net = uncopyable(kind)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    path = saved(tmp_path, {key: value + 1 for key, value in before.items()})
    assert ckpt.check(path, net).changes == ()
    assert not ckpt.check(saved(tmp_path, {"0.weight": torch.ones(9)}), net).compatible
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_an_instance_that_cannot_be_copied_at_all(tmp_path: Path) -> None:
    class Refuses(nn.Linear):
        def __deepcopy__(self, memo: object) -> Any:
            raise TypeError("no copies")

    with pytest.raises(ckpt.CkptCompatError, match="cannot be copied: TypeError: no copies"):
        ckpt.check(saved(tmp_path, two()), Refuses(2, 2))


class Body(nn.Module):
    """What a checkpoint without the prefix knows."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def test_nothing_loaded_is_an_error_at_every_strictness(tmp_path: Path) -> None:
    path = saved(tmp_path, Body().model.state_dict())
    verdict = ckpt.check(path, Body, strict=False)
    assert not verdict.compatible
    assert str(verdict).startswith(f"CK406 {path}: none of 7 tensors reaches the definition")
    strict = ckpt.check(path, Body)
    assert "nothing-loaded" not in {change.kind for change in strict.changes}
    snapshot = replace(ckpt.read(path), locations={})
    assert not check_structure(snapshot, find(Body), Policy(strict=False)).compatible


class Renames(Hooked):
    """Takes its weights from other names."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        for key in list(state):
            state[key.removeprefix("old.")] = state.pop(key)


class FusesByNumpy(Hooked):
    """Computes its weights outside of torch."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        state["a.weight"] = torch.from_numpy(state.pop("x").numpy() * 2)


class Assigns(Hooked):
    """Takes the checkpoint's own tensors."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        self.a.weight = nn.Parameter(state.pop("x"))


class Data(Hooked):
    """Writes past the state_dict."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        self.a.weight.data.copy_(torch.stack([state["x"][0], state.pop("x")[1]]))


@pytest.mark.parametrize(
    ("model", "state"),
    [
        (Renames, {"old.a.weight": torch.ones(2, 2)}),
        (FusesByNumpy, {"x": torch.ones(2, 2)}),
        (Assigns, {"x": torch.ones(2, 2)}),
        (Data, {"x": torch.ones(2, 2)}),
        (lambda: nn.LazyLinear(2), {"weight": torch.ones(2, 2)}),
        (lambda: nn.Linear(2, 2), {"weight": torch.ones(2, 2), "x": torch.ones(1)}),
        (lambda: nn.Linear(2, 2), {"weight": torch.empty(0), "x": torch.empty(0)}),
    ],
)
def test_something_loaded(tmp_path: Path, model: Model, state: Mapping[str, Any]) -> None:
    verdict = ckpt.check(saved(tmp_path, state), model, strict=False)
    assert "nothing-loaded" not in {change.kind for change in verdict.changes}


def test_a_counter_that_torch_fills_in_is_loaded(tmp_path: Path) -> None:
    state = dict(nn.BatchNorm1d(2).state_dict())
    del state["num_batches_tracked"]

    class Norm(nn.BatchNorm1d):
        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
            assert not state_dict["weight"].is_meta
            return super().load_state_dict(state_dict, strict, assign)

    assert ckpt.check(saved(tmp_path, state), lambda: Norm(2)).changes == ()


def test_a_headline_says_how_many_tensors_load(tmp_path: Path) -> None:
    path = saved(tmp_path, {**nn.Linear(2, 2).state_dict(), "aux": torch.ones(1), "scale": torch.ones(3)})
    verdict = ckpt.check(path, lambda: nn.Linear(2, 2), strict=False)
    assert str(verdict).startswith(f"CK102 {path}: loads 2 of 4 tensors, 2 of 4 tensors unexpected")


def test_what_moved_and_has_another_size_is_not_counted_as_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path, Named("head", 4).state_dict())
    verdict = ckpt.check(path, lambda: Named("fc", 6), strict=False)
    assert str(verdict).startswith(f"CK202 {path}: loads 2 of 4 tensors, head resized")


def test_a_definition_is_not_blamed_for_a_save_that_only_meta_tensors_break(tmp_path: Path) -> None:
    state = two()
    state["b.weight"] = state["a.weight"]
    text = str(ckpt.check(saved(tmp_path, state), TiedByAddress))
    assert "CK101" in text
    assert "b.weight" in text
    assert "saved by the definition itself" not in text
    assert "cannot load what it saves itself" not in text


class Named(nn.Module):
    def __init__(self, head: str, classes: int) -> None:
        super().__init__()
        self.body = nn.Linear(3, 5)
        self.add_module(head, nn.Linear(5, classes))


class ReadsNumbers(Hooked):
    """Looks at a weight that is there."""

    def _hook(self, state: dict[str, Any], *_: object) -> None:
        if "a.weight" in state and state["a.weight"].sum().item() < 0:
            state.clear()


def test_a_verdict_does_not_depend_on_the_search_for_a_prefix(tmp_path: Path) -> None:
    path = saved(tmp_path, {f"module.{key}": value for key, value in two().items()})
    verdict = check_structure(replace(ckpt.read(path), locations={}), find(ReadsNumbers), Policy())
    assert not verdict.compatible
    assert {change.kind for change in verdict.changes} & {"missing", "renamed"}
    assert any(note.startswith("looking for a prefix was not possible") for note in verdict.notes)
