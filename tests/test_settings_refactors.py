"""Refactors: definitions that were written anew and compute the same, of which nothing is told (CK502)."""

from __future__ import annotations

import math
import sys
import types
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from tests.test_settings import MAY, Attention, Model, linear, net, of, sequence, told, verdict


class Wrapper(nn.Module):
    """Holds another module, and does nothing else."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class Mlp(nn.Module):
    """Two layers and what is between them."""

    def __init__(self, act: str = "act", first: str = "fc1") -> None:
        super().__init__()
        for name in (first, act, "fc2"):
            self.add_module(name, nn.GELU() if name == act else nn.Linear(4, 4))


class Called(nn.Module):
    """Two layers, and what is between them as a function or a layer."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.act = act


class Flat(nn.Module):
    """The same layers, one level up."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4, 4)
        self.out = nn.Linear(4, 3)


class Nested(nn.Module):
    """The layers in a module of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = Mlp()
        self.out = nn.Linear(4, 3)


def with_attributes(**attributes: Any) -> Model:
    def build() -> nn.Module:
        module = Mlp()
        for name, each in attributes.items():
            setattr(module, name, each)
        return module

    return build


def moved(name: str, home: str) -> type[nn.Module]:
    """A class as it is where the code has moved it to."""
    return type(name, (Attention,), {"__module__": home})


def hooked() -> nn.Module:
    """A weight norm as torch had it before parametrizations: it has no module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module: nn.Module = nn.utils.weight_norm(nn.Linear(4, 4))
        return module


def parametrized() -> nn.Module:
    module: nn.Module = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    return module


REFACTORS: dict[str, tuple[Model, Model]] = {
    "nothing": (of(act=nn.GELU), of(act=nn.GELU)),
    "a class moved to another file": (
        of(attn=moved("Attention", "models.old")),
        of(attn=moved("Attention", "models.new")),
    ),
    "a class renamed": (of(attn=moved("Old", "models.old")), of(attn=moved("New", "models.new"))),
    "a class renamed that holds others": (
        lambda: type("Before", (Mlp,), {"__module__": "models"})(),
        lambda: type("After", (Mlp,), {"__module__": "models"})(),
    ),
    "an activation under another attribute": (Mlp, lambda: Mlp(act="activation")),
    "a layer under another attribute": (Mlp, lambda: Mlp(first="input")),
    "a new wrapper": (linear, lambda: Wrapper(linear())),
    "a new wrapper of a part": (of(), of(attn=lambda: Wrapper(Attention()))),
    "a wrapper taken away": (lambda: Wrapper(Wrapper(linear())), lambda: Wrapper(linear())),
    "layers moved into a module of their own": (Flat, Nested),
    "a module taken apart": (Nested, Flat),
    "a sequence written as a class": (sequence(linear, nn.GELU, linear), Mlp),
    "a list in place of a sequence": (
        sequence(linear, nn.GELU, linear),
        lambda: nn.ModuleList([linear(), nn.GELU(), linear()]),
    ),
    "an identity that came": (sequence(linear), sequence(linear, nn.Identity)),
    "attributes in another order": (with_attributes(a=1, b=2.0), with_attributes(b=2.0, a=1)),
    "an attribute under another name": (with_attributes(width=0.5), with_attributes(factor=0.5)),
    "an attribute that came": (with_attributes(), with_attributes(eps=1e-5)),
    "a number written in another way": (
        with_attributes(scale=8**-0.5),
        with_attributes(scale=1 / math.sqrt(8)),
    ),
    "an integer in place of a float": (with_attributes(scale=2), with_attributes(scale=2.0)),
    "a list in place of a tuple": (with_attributes(sizes=[1, 2]), with_attributes(sizes=(1, 2))),
    "one number for both sides": (sequence(lambda: nn.MaxPool2d(2)), sequence(lambda: nn.MaxPool2d((2, 2)))),
    "a function in place of its name": (with_attributes(f="gelu"), with_attributes(f=F.gelu)),
    "the same function of another module": (with_attributes(f=F.relu), with_attributes(f=torch.relu)),
    "a layer in place of its function": (lambda: Called(F.gelu), lambda: Called(nn.GELU())),
    "a layer in place of its name": (lambda: Called("relu"), lambda: Called(nn.ReLU())),
    "in place": (of(act=nn.ReLU), of(act=lambda: nn.ReLU(inplace=True))),
    "train and eval": (lambda: Mlp().train(), lambda: Mlp().eval()),
    "an instance in place of a class": (Mlp, Mlp()),
    "a lazy layer": (linear, lambda: nn.LazyLinear(4)),
    "a head with more classes": (lambda: nn.Linear(4, 3), lambda: nn.Linear(4, 7)),
    "a block more": (of(act=nn.GELU), lambda: nn.ModuleList([net(act=nn.GELU)])),
    "a weight norm": (linear, parametrized),
    "a weight norm written anew": (hooked, parametrized),
    "a weight norm written anew in a part": (sequence(linear, hooked), sequence(linear, parametrized)),
}


@pytest.mark.parametrize(("old", "new"), REFACTORS.values(), ids=REFACTORS)
def test_a_refactor_is_not_told(old: Model, new: Model) -> None:
    """Whether or not the keys are the same."""
    for before, after in ((old, new), (new, old)):
        assert [c.detail for c in verdict(before, after).changes if c.rule == "CK502"] == []


def test_deeper_and_wider_definitions_are_told_by_their_tensors_alone() -> None:
    def stack(depth: int, width: int) -> nn.Module:
        module = nn.Module()
        module.depth = depth  # type: ignore[assignment]
        module.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)) for _ in range(depth)
        )
        return module

    for new in ((4, 8), (3, 16)):
        found = verdict(lambda: stack(3, 8), lambda new=new: stack(*new))  # type: ignore[misc]
        assert found.changes
        assert "CK502" not in {change.rule for change in found.changes}


def test_a_class_that_the_code_still_has_was_not_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only then is another class of the project's own told; an alias of the new name is none."""
    both = moved("Slow", "models_here"), moved("Fast", "models_here")
    home = types.ModuleType("models_here")
    monkeypatch.setitem(sys.modules, "models_here", home)
    assert told(of(attn=both[0]), of(attn=both[1])) == []
    home.Slow = both[1]  # type: ignore[attr-defined]
    assert told(of(attn=both[0]), of(attn=both[1])) == []
    home.Slow = both[0]  # type: ignore[attr-defined]
    assert set(told(of(attn=both[0]), of(attn=both[1]))) == {f"models_here.Slow -> models_here.Fast, {MAY}"}
