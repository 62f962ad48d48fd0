"""What a load that raises nothing leaves out of a checkpoint, or loses again before it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._report.text import headline


class Net(nn.Module):
    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
        self.head = nn.Linear(8, outputs)


class Filtering(Net):
    """Loads what has its name and its size, as many training scripts do."""

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        own = self.state_dict()
        alike = {k: v for k, v in state_dict.items() if k in own and own[k].shape == v.shape}
        return super().load_state_dict(alike, strict=False)


def told(tmp_path: Path, state: Mapping[str, Any], model: Any) -> str:
    """The headline after the name of the file; the checkpoint loads."""
    torch.save(state, tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", model)
    assert verdict.compatible
    return headline(verdict).partition("net.pt: ")[2]


def renamed(state: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {key.replace(old, new): value for key, value in state.items()}


def test_a_filter_by_size_leaves_a_head_as_built(tmp_path: Path) -> None:
    text = told(tmp_path, Net(9).state_dict(), Filtering)
    assert text == "loads, head.* (2 tensors) left as built: the checkpoint's has another size"


def test_a_filter_by_name_leaves_a_renamed_block_as_built(tmp_path: Path) -> None:
    text = told(tmp_path, renamed(Net().state_dict(), "body", "trunk"), Filtering)
    assert text == "loads, body.* (4 tensors) left as built: the checkpoint has trunk.*"


def test_a_filter_that_leaves_nothing_out_is_quiet(tmp_path: Path) -> None:
    assert told(tmp_path, Net().state_dict(), Filtering) == "6 tensors load"


def test_an_override_that_renames_leaves_nothing_out(tmp_path: Path) -> None:
    class Renaming(Net):
        def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
            return super().load_state_dict(renamed(state_dict, "trunk", "body"), *args, **options)

    assert told(tmp_path, renamed(Net().state_dict(), "body", "trunk"), Renaming) == "6 tensors load"


def after(change: Callable[[Any], object]) -> Callable[[], nn.Module]:
    """A definition with a hook that changes it after each load."""

    def model() -> nn.Module:
        net = Net()

        def hook(module: Any, _keys: Any) -> None:
            change(module)

        cast(Any, net).register_load_state_dict_post_hook(hook)
        return net

    return model


def halve(net: Any) -> None:
    net.head.weight.data.mul_(0.5)


def clear_a_row(net: Any) -> None:
    net.head.weight.data[0].zero_()


def from_the_body(net: Any) -> None:
    net.head.weight = nn.Parameter(net.head.weight.detach().clone())


OVERWRITTEN = "loaded, and then overwritten with other values"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda net: net.head.reset_parameters(), f"loads, head.* (2 tensors) {OVERWRITTEN}"),
        (lambda net: nn.init.zeros_(net.head.weight), f"loads, head.weight {OVERWRITTEN}"),
        (lambda net: nn.init.eye_(net.head.weight), f"loads, head.weight {OVERWRITTEN}"),
        (
            lambda net: setattr(net, "head", nn.Linear(8, 4)),
            "loads, head.* (2 tensors) loaded, and then replaced by another tensor",
        ),
        (halve, "6 tensors load"),
        (clear_a_row, "6 tensors load"),
        (from_the_body, "6 tensors load"),
        (lambda net: net.load_state_dict.__self__, "6 tensors load"),
    ],
    ids=["reset", "zeros", "eye", "replaced", "halved", "a row", "a copy", "nothing"],
)
def test_what_happens_after_the_load(tmp_path: Path, change: Callable[[Any], object], text: str) -> None:
    assert told(tmp_path, Net().state_dict(), after(change)) == text


class Tied(nn.Module):
    def __init__(self, tie: str) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 8), nn.Linear(8, 9, bias=False)
        if tie == "built":
            self.head.weight = self.embed.weight

        def hook(module: Any, _keys: Any) -> None:
            if tie == "after":
                module.head.weight = module.embed.weight

        cast(Any, self).register_load_state_dict_post_hook(hook)


def test_weights_that_a_hook_ties_after_the_load(tmp_path: Path) -> None:
    apart = {"embed.weight": torch.zeros(9, 8), "head.weight": torch.ones(9, 8)}
    text = told(tmp_path, apart, lambda: Tied("after"))
    assert text == "loads, weights tied after the load, which loses the checkpoint's head.weight"
    one = torch.zeros(9, 8)
    text = told(tmp_path, {"embed.weight": one, "head.weight": one}, lambda: Tied("after"))
    assert text == "2 tensors load"  # apart as built, and tied again by the load


class Ties(nn.Module):
    """Two matrices for each pair of names, or one."""

    def __init__(self, tie: bool, *pairs: tuple[str, str]) -> None:
        super().__init__()
        for first, second in pairs:
            self.add_module(first, nn.Linear(4, 4, bias=False))
            self.add_module(second, nn.Linear(4, 4, bias=False))
            if tie:
                self.get_submodule(second).weight = self.get_submodule(first).weight


@pytest.mark.parametrize("pair", [("embed", "head"), ("head", "embed")])
def test_of_two_that_are_now_tied_it_names_the_one_that_torch_keeps(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    apart, net = Ties(False, pair).state_dict(), Ties(True, pair)
    net.load_state_dict(dict(sorted(apart.items())))
    (kept,) = (key for key, value in apart.items() if torch.equal(value, net.state_dict()[key]))
    (lost,) = set(apart) - {kept}
    text = told(tmp_path, apart, lambda: Ties(True, pair))
    assert text == f"loads, weights now tied: the load keeps {kept}, and loses {lost} if it differs"


def test_two_names_of_one_tensor_are_no_loss(tmp_path: Path) -> None:
    net = Ties(True, ("embed", "head"))
    assert told(tmp_path, net.state_dict(), lambda: Ties(True, ("embed", "head"))) == "2 tensors load"


def test_ties_between_some_of_those_that_were_one_lose_nothing(tmp_path: Path) -> None:
    def one_of_three() -> nn.Module:
        net = Ties(True, ("a", "b"))
        net.add_module("c", nn.Linear(4, 4, bias=False))
        return net

    weight = torch.zeros(4, 4)
    text = told(tmp_path, {f"{name}.weight": weight for name in "abc"}, one_of_three)
    assert text == "loads, weights no longer tied"


def test_how_many_more_are_now_tied_is_said(tmp_path: Path) -> None:
    pairs = ("a", "b"), ("c", "d"), ("e", "f")
    text = told(tmp_path, Ties(False, *pairs).state_dict(), lambda: Ties(True, *pairs))
    first = "weights now tied: the load keeps b.weight, and loses a.weight if it differs"
    assert text == f"loads, {first} (and 2 more)"


def test_a_tied_key_that_is_taken_out_before_the_load_is_not_kept(tmp_path: Path) -> None:
    class WithoutHead(Ties):
        def load_state_dict(self, state_dict: Mapping[str, Any], *_: Any, **__: Any) -> Any:
            rest = {key: value for key, value in state_dict.items() if key != "head.weight"}
            return super().load_state_dict(rest, strict=False)

    pair = "embed", "head"
    torch.save(Ties(False, pair).state_dict(), tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", lambda: WithoutHead(True, pair))
    assert [each.detail for each in verdict.changes if each.kind == "retied"] == [
        "now tied: the load keeps embed.weight, and loses head.weight if it differs"
    ]


def test_a_default_for_a_tied_key_overwrites_what_was_loaded(tmp_path: Path) -> None:
    def model() -> nn.Module:
        net = Tied("built")

        def default(_module: Any, state: dict[str, Any], *_: Any) -> None:
            state.setdefault("head.weight", torch.zeros(9, 8))

        cast(Any, net).register_load_state_dict_pre_hook(default)
        return net

    text = told(tmp_path, {"embed.weight": torch.ones(9, 8)}, model)
    assert text == f"loads, all 2 tensors {OVERWRITTEN}"
