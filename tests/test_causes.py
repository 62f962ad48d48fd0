"""Why a checkpoint does not fit, where both sides show it, and that nothing is claimed where they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Change, Policy
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._snapshots import fingerprint

State = Mapping[str, Any]


def checked(tmp_path: Path, state: State, model: Any, **options: Any) -> ckpt.Verdict:
    torch.save(state, tmp_path / "net.pt")
    return ckpt.check(tmp_path / "net.pt", model, **options)


def of(verdict: ckpt.Verdict, key: str) -> Change:
    """The only change that tells of a key."""
    [change] = [each for each in verdict.changes if key in (*each.old, *each.new)]
    return change


def with_buffers(**buffers: Callable[[nn.Module, str], None]) -> Callable[[], nn.Module]:
    def model() -> nn.Module:
        net = nn.Linear(2, 2)
        for name, register in buffers.items():
            register(net, name)
        return net

    return model


def unsaved(value: float) -> Callable[[nn.Module, str], None]:
    return lambda net, name: net.register_buffer(name, torch.full((2,), value), persistent=False)


@pytest.mark.parametrize(
    ("register", "detail"),
    [
        (unsaved(1), "still there, persistent=False, with these values: safe to drop"),
        (unsaved(2), "still there, persistent=False, with other values"),
        (
            lambda net, name: net.register_buffer(name, None),
            "is None here, and torch loads nothing into None",
        ),
        (
            lambda net, name: net.register_parameter(name, None),
            "is None here, and torch loads nothing into None",
        ),
        (
            lambda net, name: setattr(net, name, torch.ones(2)),
            "still there, as an attribute that is not in the state_dict",
        ),
        (lambda net, name: setattr(net, name, 3), ""),
        (lambda net, name: None, ""),
    ],
)
def test_what_a_definition_has_outside_of_its_state_dict(tmp_path: Path, register: Any, detail: str) -> None:
    state = {**nn.Linear(2, 2).state_dict(), "mean": torch.ones(2)}
    change = of(checked(tmp_path, state, with_buffers(mean=register)), "mean")
    assert (change.kind, change.detail) == ("unexpected", detail)
    assert bool(change.advice) is bool(detail)


def test_numbers_are_not_compared_where_there_are_none(tmp_path: Path) -> None:
    torch.save({**nn.Linear(2, 2).state_dict(), "mean": torch.zeros(2)}, tmp_path / "net.pt")
    recorded = fingerprint.loads(fingerprint.dumps(ckpt.read(tmp_path / "net.pt")), "net.json")
    for value in (0, 1):
        verdict = check_structure(recorded, find(with_buffers(mean=unsaved(value))), Policy())
        assert of(verdict, "mean").detail == "still there, persistent=False"


def test_a_buffer_that_is_not_saved_is_not_told_as_renamed(tmp_path: Path) -> None:
    def model() -> nn.Module:
        net = with_buffers(mean=unsaved(1))()
        net.register_buffer("average", torch.zeros(2))
        return net

    verdict = checked(tmp_path, {**nn.Linear(2, 2).state_dict(), "mean": torch.ones(2)}, model)
    assert {(c.kind, c.old, c.new) for c in verdict.changes} == {
        ("unexpected", ("mean",), ()),
        ("missing", (), ("average",)),
    }


class Blocks(nn.Module):
    def __init__(self, depth: int = 2, width: int = 4, bias: bool = True, aux: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=bias) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        if aux:
            self.aux_head = nn.Linear(width, 3)


def respelt(state: State, old: str, new: str) -> dict[str, Any]:
    return {key.replace(old, new): value for key, value in state.items()}


@pytest.mark.parametrize(
    "name", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"]
)
@pytest.mark.parametrize("side", ["checkpoint", "definition"])
def test_a_wrapper_in_the_middle_of_keys_is_named(name: str, side: str) -> None:
    plain = ckpt.define(Blocks)
    specs = {key.replace("layers.0.", f"layers.0.{name}."): spec for key, spec in plain.tensors.items()}
    wrapped = ckpt.Structure(tensors=specs)
    verdict = ckpt.diff(*((wrapped, plain) if side == "checkpoint" else (plain, wrapped)))

    assert {change.kind for change in verdict.changes} == {"renamed"}
    for change in verdict.changes:
        assert change.confidence == "certain"
        assert change.old[0].replace(f"{name}.", "") == change.new[0].replace(f"{name}.", "")
        assert change.detail.startswith("wrapped by ")
        assert change.detail.endswith(f"in the {side}")
        assert f'"{name}."' in change.advice


def test_counters_that_torch_fills_in_are_paired_beneath_a_wrapper(tmp_path: Path) -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    state = respelt(model().state_dict(), "1.", "1._orig_mod.")
    verdict = checked(tmp_path, state, model)
    assert {change.kind for change in verdict.changes} == {"renamed"}
    assert len(verdict.changes) == 5


def test_a_wrappers_name_pairs_nothing_that_is_ambiguous_or_of_another_size() -> None:
    tensor = ckpt.define(lambda: nn.Linear(2, 2)).tensors["weight"]
    two = ckpt.Structure(tensors={"a.module.w": tensor, "a._orig_mod.w": tensor, "c": tensor})
    one = ckpt.Structure(tensors={"a.w": tensor, "c": tensor})
    assert not [c for c in ckpt.diff(two, one).changes if c.detail.startswith("wrapped")]
    other = ckpt.define(lambda: nn.Linear(3, 5)).tensors["weight"]
    unfit = ckpt.Structure(tensors={"a.module.w": other, "c": tensor})
    assert not [c for c in ckpt.diff(unfit, one).changes if c.detail.startswith("wrapped")]


def advice(verdict: ckpt.Verdict) -> set[str]:
    return {change.advice.partition(": build")[0] for change in verdict.changes}


@pytest.mark.parametrize(
    ("saved", "argument"),
    [
        ({"width": 6}, "width=6"),
        ({"depth": 3}, "depth=3"),
        ({"depth": 1}, "depth=1"),
        ({"bias": False}, "bias=False"),
        ({"aux": True}, "aux=True"),
        ({"width": 6, "depth": 3}, "depth=3 and width=6"),
    ],
)
def test_an_argument_with_which_a_checkpoint_loads_is_named(
    tmp_path: Path, saved: dict[str, Any], argument: str
) -> None:
    verdict = checked(tmp_path, Blocks(**saved).state_dict(), Blocks)
    assert advice(verdict) == {f"it loads with {argument}"}
    assert checked(tmp_path, Blocks(**saved).state_dict(), Blocks, kwargs=saved).compatible


def test_no_argument_is_named_with_which_a_checkpoint_does_not_load(tmp_path: Path) -> None:
    state = {**Blocks(width=6).state_dict(), "more": torch.zeros(1)}
    assert not [a for a in advice(checked(tmp_path, state, Blocks)) if a.startswith("it loads")]


def test_a_switch_that_no_key_names_is_not_tried(tmp_path: Path) -> None:
    built = []

    class Net(nn.Module):
        def __init__(self, compiled: bool = False) -> None:
            super().__init__()
            built.append(compiled)
            self.layer = nn.Linear(2, 2)

    checked(tmp_path, {**Net().state_dict(), "extra": torch.zeros(1)}, Net)
    assert not any(built)


def test_sizes_that_grew_alike_are_told_once(tmp_path: Path) -> None:
    def model(width: int) -> Callable[[], nn.Module]:
        return lambda: nn.Sequential(
            nn.Linear(3, width), nn.Linear(width, 2 * width), nn.LayerNorm(2 * width)
        )

    verdict = checked(tmp_path, model(4)().state_dict(), model(6))
    assert advice(verdict) == {"4 became 6 (and 8 became 12) in all of them"}
    verdict = checked(tmp_path, nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(5)).state_dict(), model(6))
    assert not [each for each in advice(verdict) if "became" in each]


@pytest.mark.parametrize("strict", [True, False])
def test_a_definition_that_cannot_load_what_it_saves(tmp_path: Path, strict: bool) -> None:
    class Asks(nn.Linear):
        def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
            raise KeyError(prefix + "scale")

    verdict = checked(tmp_path, nn.Linear(2, 2).state_dict(), lambda: Asks(2, 2), strict=strict)
    [change] = verdict.changes
    assert change.kind == "load-raises"
    assert "cannot load what it saves itself" in change.advice

    class Scaled(Asks):
        def _save_to_state_dict(self, state: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(state, prefix, keep_vars)
            state[prefix + "scale"] = torch.ones(1)

        def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
            state.pop(prefix + "scale")
            nn.Linear._load_from_state_dict(self, state, prefix, *rest)

    verdict = checked(tmp_path, nn.Linear(2, 2).state_dict(), lambda: Scaled(2, 2), strict=strict)
    assert not [c for c in verdict.changes if "itself" in c.advice], "it loads its own file"


def test_a_head_of_which_the_inputs_changed_is_no_resized_head(tmp_path: Path) -> None:
    verdict = checked(
        tmp_path,
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict(),
        lambda: nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7)),
    )
    assert {change.kind for change in verdict.changes} == {"resized"}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("fc.weight.absmax", "4-bit weights of bitsandbytes"),
        ("fc.weight.quant_state.bitsandbytes__fp4", "4-bit weights of bitsandbytes"),
        ("fc.SCB", "8-bit weights of bitsandbytes"),
        ("fc.qzeros", "weights of GPTQ or AWQ"),
        ("fc._packed_params._packed_params", "packed weights of torch.ao.quantization"),
        ("fc.scale", ""),
    ],
)
def test_quantized_weights_are_named_and_not_dropped(tmp_path: Path, key: str, words: str) -> None:
    state = {**respelt(nn.Linear(2, 2).state_dict(), "", ""), key: torch.zeros(1)}
    state = {f"fc.{name}" if "fc" not in name else name: value for name, value in state.items()}
    change = of(checked(tmp_path, state, lambda: nn.ModuleDict({"fc": nn.Linear(2, 2)})), key)
    assert change.detail == words
    assert change.advice.startswith("load it with the quantization") is bool(words)


def test_casts_that_lose_nothing_are_one_quiet_line(tmp_path: Path) -> None:
    half = {key: value.bfloat16() for key, value in Blocks().state_dict().items()}
    assert str(checked(tmp_path, half, Blocks)).startswith(
        f"OK {tmp_path}/net.pt: 6 tensors load, cast from bfloat16 to float32"
    )
    double = {key: value.double() for key, value in Blocks().state_dict().items()}
    assert str(checked(tmp_path, double, Blocks)).startswith("CK203 ")
    mixed = half | {"norm.weight": torch.ones(4).half()}
    assert "of another dtype" in str(checked(tmp_path, mixed, Blocks))


def test_a_vocabulary_that_is_tied_is_one_tensor_and_its_bias_goes_with_it(tmp_path: Path) -> None:
    class Language(nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(rows, 4), nn.Linear(4, rows)
            self.head.weight = self.embed.weight

    verdict = checked(tmp_path, Language(10).state_dict(), lambda: Language(12))
    assert {change.kind for change in verdict.changes} == {"resized"}
    assert {change.detail for change in verdict.changes} == {"one tied tensor, rows 10 -> 12"}
    assert all("head out" not in change.advice for change in verdict.changes)


def test_what_is_tied_to_a_tensor_of_another_size_is_not_given_a_default(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(width, 6), nn.Linear(width, 6)
            self.right.weight = self.left.weight

    state = {key: value for key, value in Twice(3).state_dict().items() if key != "right.weight"}
    verdict = checked(tmp_path, state, lambda: Twice(4))
    advice = {change.kind: change.advice for change in verdict.changes}
    assert advice["missing"].startswith("it is one tensor with left.weight: ")
    assert "rows" not in str(verdict)


class Frozen(nn.Module):
    """A norm with statistics, and without a counter, as detection models have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(width))


@pytest.mark.parametrize(
    ("norm", "detail"),
    [
        (lambda width: nn.GroupNorm(2, width), "of a layer that is a GroupNorm now"),
        (
            lambda width: nn.BatchNorm1d(width, track_running_stats=False),
            "the BatchNorm1d keeps no statistics here",
        ),
        (Frozen, "a counter that the Frozen does not have"),
        (nn.Identity, "a BatchNorm after 0, which stays"),
    ],
)
def test_statistics_without_a_place(tmp_path: Path, norm: Callable[[int], nn.Module], detail: str) -> None:
    state = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict()
    verdict = checked(tmp_path, state, lambda: nn.Sequential(nn.Linear(3, 4), norm(4)))
    assert of(verdict, "1.num_batches_tracked").detail == detail


@pytest.mark.parametrize(
    ("key", "told"), [("pos_embed.weight", True), ("wpe.weight", True), ("decomposed.weight", False)]
)
def test_positions_of_an_embedding(key: str, told: bool) -> None:
    old, new = (
        ckpt.define(lambda n=n: nn.ModuleDict({"x": nn.Embedding(n, 4)})).tensors["x.weight"] for n in (5, 9)
    )
    rest = ckpt.define(lambda: nn.Linear(2, 3)).tensors
    verdict = ckpt.diff(
        ckpt.Structure(tensors={key: old, **rest}), ckpt.Structure(tensors={key: new, **rest})
    )
    assert (of(verdict, key).detail == "positions 5 -> 9") is told
