"""Layers that went into others: told where their numbers can be there, and nowhere else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt


def named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def branch(inputs: int, outputs: int, kernel: int) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return named(conv=conv, bn=nn.BatchNorm2d(outputs))


def text_of(tmp_path: Path, old: nn.Module, new: nn.Module) -> str:
    torch.save(old.state_dict(), tmp_path / "net.pt")
    return str(ckpt.check(tmp_path / "net.pt", lambda: new))


def block(deploy: bool, **beside: nn.Module) -> nn.Module:
    if deploy:
        return named(reparam=nn.Conv2d(8, 8, 3, padding=1), **beside)
    return named(dense=branch(8, 8, 3), pointwise=branch(8, 8, 1), identity=nn.BatchNorm2d(8), **beside)


@pytest.mark.parametrize("stays", ["in the block", "elsewhere"])
def test_a_norm_that_stays_hides_no_fused_branches(tmp_path: Path, stays: str) -> None:
    def net(deploy: bool) -> nn.Module:
        if stays == "in the block":
            return named(a=block(deploy, post=nn.BatchNorm2d(8)), b=block(deploy, post=nn.BatchNorm2d(8)))
        return named(stem=branch(3, 8, 3), a=block(deploy), b=block(deploy), head=nn.Conv2d(8, 2, 1))

    text = text_of(tmp_path, net(False), net(True))
    assert "fused here with the BatchNorm and the branches beside it" in text
    assert "switch_to_deploy" in text
    assert "drop it" not in text


class TwoInRow(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (lambda: named(wide=branch(3, 8, 5), narrow=branch(3, 8, 3)), lambda: nn.Conv2d(3, 8, 1)),
        (lambda: TwoInRow(3), lambda: nn.Conv2d(3, 8, 3)),
        (lambda: TwoInRow(8), lambda: nn.Conv2d(8, 8, 3)),
    ],
    ids=["larger than the kernel", "another number of inputs", "one after another"],
)
def test_a_block_that_was_replaced_is_not_told_as_fused(
    tmp_path: Path, old: Callable[[], nn.Module], new: Callable[[], nn.Module]
) -> None:
    text = text_of(tmp_path, named(block=old(), head=nn.Conv2d(8, 2, 1)), named(block=named(one=new())))
    assert "fuse" not in text


def test_many_branches_of_one_size_are_copies_by_number(tmp_path: Path) -> None:
    """As in MobileOne, whose kernels of one size are in a ModuleList."""
    many = nn.ModuleDict({"branches": nn.ModuleList([branch(8, 8, 3) for _ in range(4)])})
    text = text_of(tmp_path, named(block=many), named(block=named(reparam=nn.Conv2d(8, 8, 3))))
    assert "switch_to_deploy" in text


def test_no_norm_is_folded_into_the_layer_after_it(tmp_path: Path) -> None:
    """A layer that got a bias has not taken the norm before it: there is an activation between."""
    old = named(a=nn.Conv2d(3, 8, 3, bias=False), n=nn.BatchNorm2d(8), b=nn.Conv2d(8, 8, 3, bias=False))
    new = named(a=nn.Conv2d(3, 8, 3, bias=False), b=nn.Conv2d(8, 8, 3))
    text = text_of(tmp_path, old, new)
    assert "a BatchNorm after a, which stays" in text
    assert "put it back: without it, the outputs are others" in text
    assert "folded into" not in text


@pytest.mark.parametrize("by_name", [False, True])
def test_a_norm_is_not_dropped_where_the_layer_before_it_stays(tmp_path: Path, by_name: bool) -> None:
    """The layer has a bias on both sides, so that nothing else shows that the definition was fused."""
    old = named(conv=nn.Conv2d(3, 8, 3), bn=nn.BatchNorm2d(8)).state_dict()
    state = {key: old[key] for key in sorted(old)} if by_name else old
    torch.save(state, tmp_path / "net.pt")
    (change, *_) = (
        verdict := ckpt.check(tmp_path / "net.pt", lambda: named(conv=nn.Conv2d(3, 8, 3)))
    ).changes
    assert change.detail == "a BatchNorm after conv, which stays"
    assert "fuse_conv_bn_weights" in change.advice
    assert "drop it" not in str(verdict)


def test_a_branch_that_is_gone_with_its_norm_may_be_dropped(tmp_path: Path) -> None:
    text = text_of(tmp_path, named(a=branch(3, 8, 3), aux=branch(8, 4, 1)), named(a=branch(3, 8, 3)))
    assert "CK102: drop it in a load_state_dict pre-hook, or put the layer back" in text
