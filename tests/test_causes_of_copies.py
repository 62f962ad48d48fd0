"""Files that hold a model twice, or averaged, and layers that became others: what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._check.averaged import averaged
from pytest_ckpt_compat._readers import read
from tests.conftest import Printed
from tests.migrations import unwrapped
from tests.test_accept_many import broken
from tests.test_causes_of_values import Layers, checked, linear
from tests.test_snapshots import change_model

Command = Callable[..., Printed]

__all__ = ["broken"]


def net(classes: int = 10) -> nn.Module:
    return Layers(
        encoder=nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3)), head=nn.Linear(32, classes)
    )


def under(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in state.items()}


# -- tied tensors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("embed", "lm_head"), ("tok", "out")])
@pytest.mark.parametrize("sides", [(8, 16), (16, 8)])
def test_a_tied_pair_of_another_width_is_not_joined_with_itself(
    tmp_path: Path, names: tuple[str, str], sides: tuple[int, int]
) -> None:
    """Two names of [50, 8] were "fused" into one of [50, 16]."""

    def language(first: str, second: str, width: int) -> nn.Module:
        head = linear(width, 50)
        made = Layers(**{first: nn.Embedding(50, width), "mid": nn.Linear(width, width), second: head})
        head.weight = made.get_parameter(f"{first}.weight")
        return made

    state = language("embed", "lm_head", sides[0]).state_dict()
    text = str(checked(tmp_path, state, lambda: language(*names, sides[1])))
    assert "fused" not in text
    assert "split" not in text
    assert f"{sides[0]} became {sides[1]} in all of them" in text


def test_a_tied_head_under_another_name_is_still_explained(tmp_path: Path) -> None:
    """Its advice comes after the renames: before, it would keep the key out of them."""

    def language(head: str) -> nn.Module:
        last = linear(8, 50)
        made = Layers(embed=nn.Embedding(50, 8), mid=nn.Linear(8, 8), **{head: last})
        last.weight = made.get_parameter("embed.weight")
        return made

    state = language("output_proj").state_dict()
    text = str(checked(tmp_path, state, lambda: language("out_proj")))
    assert "~ output_proj.weight -> out_proj.weight" in text


# -- two copies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefixes", [("student.", "teacher."), ("teacher.", "student."), ("g.a.", "g.b."), ("model.", "ema.")]
)
def test_a_file_that_holds_the_model_twice_leaves_the_choice(
    tmp_path: Path, prefixes: tuple[str, str]
) -> None:
    """The first in the file was "likely", and the other one to be dropped."""
    state = under(prefixes[0], net().state_dict()) | under(prefixes[1], net().state_dict())
    verdict = checked(tmp_path, {"state_dict": state}, net)
    first, second = sorted(prefixes)
    assert "fits as well   ambiguous" in str(verdict)
    assert (
        f"choose one of {first}* and {second}*, which are alike: load its keys alone, with "
        f'strip_prefix="{first}" or strip_prefix="{second}", or migrate with --choose "{first}*=*" or '
        f'--choose "{second}*=*"'
    ) in str(verdict)
    assert "put the layer back" not in str(verdict)
    assert "rename the attribute back" not in str(verdict)
    moved = [change for change in verdict.changes if change.kind == "renamed"]
    assert moved
    assert {change.confidence for change in moved} == {"ambiguous"}


def test_a_file_with_another_part_beside_the_model_is_no_choice(tmp_path: Path) -> None:
    state = under("student.", net().state_dict()) | under("loss.", nn.Linear(2, 2).state_dict())
    text = str(checked(tmp_path, {"state_dict": state}, net))
    assert "as well" not in text
    assert "choose one of" not in text


# -- averaged weights ------------------------------------------------------------------------------


def test_an_averaged_model_is_named(tmp_path: Path) -> None:
    state = torch.optim.swa_utils.AveragedModel(net()).state_dict()
    text = str(checked(tmp_path, state, net))
    assert "wrapped by AveragedModel in the checkpoint" in text
    assert "DataParallel" not in text
    assert "a counter of AveragedModel" in text
    assert "CK102: drop the key while loading (migrate=): it counts how many were averaged" in text


@pytest.mark.parametrize(
    ("name", "inside"), [("emaModel", ""), ("model_ema", ""), ("ModelEMA", "module."), ("ema", "module.")]
)
@pytest.mark.parametrize("nested", [False, True])
def test_averaged_weights_of_another_size_are_found(
    tmp_path: Path, name: str, inside: str, nested: bool
) -> None:
    other = net(12).state_dict()
    copy: dict[str, Any] = under(inside, other)
    saved = {"model": net().state_dict(), name: {"module": copy, "decay": 0.999} if nested else copy}
    torch.save(saved, tmp_path / "run.pt")
    (change,) = averaged(read(tmp_path / "run.pt", "model"))
    assert change.detail.startswith(
        f"{name}{'.module' * nested} has the keys of the model, with 2 tensors of another shape "
        "(head.weight float32[12, 32] instead of float32[10, 32]): a resume loads it, too"
    )


@pytest.mark.parametrize(("beside", "found"), [({"decay": 0.999}, 1), ({}, 0)])
def test_a_decay_beside_a_copy_says_that_it_is_averaged(
    tmp_path: Path, beside: dict[str, Any], found: int
) -> None:
    shadow = {"shadow": {"params": net(12).state_dict(), **beside}}
    torch.save({"model": net().state_dict(), **shadow}, tmp_path / "run.pt")
    assert len(list(averaged(read(tmp_path / "run.pt", "model")))) == found


def test_what_is_no_copy_of_the_model_is_passed_over(tmp_path: Path) -> None:
    adam = torch.optim.Adam(net().parameters()).state_dict()
    others = {"optimizer": adam, "critic": nn.Linear(3, 3).state_dict(), "same": net().state_dict()}
    torch.save({"model": net().state_dict(), **others}, tmp_path / "run.pt")
    assert list(averaged(read(tmp_path / "run.pt", "model"))) == []


# -- another layer ---------------------------------------------------------------------------------


def test_an_lstm_that_became_a_gru_is_no_other_size(tmp_path: Path) -> None:
    lstm, gru = (Layers(rnn=kind(8, 16), head=nn.Linear(16, 2)) for kind in (nn.LSTM, nn.GRU))
    text = str(checked(tmp_path, lstm.state_dict(), lambda: gru))
    assert "an LSTM in the file, a GRU here" in text
    assert "CK201: put an LSTM back: no size makes one of the other" in text
    assert "build the model with the old size" not in text


def test_an_lstm_of_another_size_is(tmp_path: Path) -> None:
    old, new = (Layers(rnn=nn.LSTM(8, size), head=nn.Linear(size, 2)) for size in (16, 20))
    assert "put an LSTM back" not in str(checked(tmp_path, old.state_dict(), lambda: new))


def test_experts_are_stacked_and_not_joined_end_to_end(tmp_path: Path) -> None:
    old = Layers(experts=nn.ModuleList(Layers(w1=linear(8, 16)) for _ in range(4)), head=nn.Linear(8, 2))

    def stacked() -> nn.Module:
        experts = nn.Module()
        experts.register_parameter("w1", nn.Parameter(torch.zeros(4, 16, 8)))
        return Layers(experts=experts, head=nn.Linear(8, 2))

    text = str(checked(tmp_path, old.state_dict(), stacked))
    assert "CK105: stack them while loading (migrate=)" in text


def test_a_number_that_no_load_touches_is_named(tmp_path: Path) -> None:
    made = net()
    made.logit_scale = 2.65  # type: ignore[assignment]
    text = str(checked(tmp_path, {**net().state_dict(), "logit_scale": torch.tensor(4.6)}, lambda: made))
    assert "a float 2.65 here, which the load does not set" in text
    assert "put the layer back" not in text


def test_a_buffer_of_another_size_is_not_to_be_made_persistent(tmp_path: Path) -> None:
    def masked(size: int, persistent: bool) -> nn.Module:
        made = net()
        made.register_buffer("mask", torch.ones(size, size).tril(), persistent=persistent)
        return made

    text = str(checked(tmp_path, masked(16, True).state_dict(), lambda: masked(32, False)))
    assert "still there, persistent=False, of another size [32, 32]" in text
    assert "make the buffer persistent again" not in text


@pytest.mark.parametrize(("size", "proven"), [(8, False), (6, True)])
def test_a_bare_square_matrix_that_became_a_layer_is_decided_by_its_person(
    pytester: pytest.Pytester, command: Command, size: int, proven: bool
) -> None:
    """CLIP computes x @ matrix: in a layer, it is transposed, which an oblong one shows."""
    (pytester.path / "models.py").write_text(
        f"from torch import nn\n\ndef Net():\n    net = nn.Module()\n    net.proj = nn.Linear(8, {size}, "
        f"bias=False)\n"
        "    net.norm = nn.LayerNorm(8)\n    return net\n"
    )
    old = nn.Module()
    old.register_parameter("proj", nn.Parameter(torch.zeros(8, size)))
    old.add_module("norm", nn.LayerNorm(8))
    torch.save(old.state_dict(), pytester.path / "net.pt")
    printed = command("migrate", "net.pt", "models:Net")
    told = (
        "# likely: a bare matrix is used as x @ matrix, a layer's the other way round, and only forward "
        "shows which"
    )
    assert (told in unwrapped(printed.out)) == (not proven)
    printed = command("migrate", "net.pt", "models:Net", "--choose", "proj=proj.weight")
    assert (printed.code, "proj" in printed.out) == (0, True)


# -- the reasons of entries ------------------------------------------------------------------------


def test_an_entry_that_grows_keeps_its_reason(broken: pytest.Pytester, command: Command) -> None:
    """The reason of what had not changed was written over, in silence."""
    from pytest_ckpt_compat._snapshots import accepted

    words = ("accept", "net-v1", "--rule", "CK101", "--reason")
    assert command(*words, "extra starts as built").code == 0
    change_model(broken, "        self.head =", "        self.more = nn.Linear(3, 3)\n        self.head =")
    assert command(*words, "so does more").code == 0
    (entry,) = accepted.load(broken.path / "ckpt_snapshots")
    assert entry.reason == "extra starts as built; so does more"
