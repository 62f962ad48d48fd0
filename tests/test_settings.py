"""Settings of modules: edits that load cleanly and compute something else are told, refactors are not."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.module_pairs import leaves
from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._snapshots import fingerprint

Model = Callable[[], nn.Module]


class Attention(nn.Module):
    """What a project writes itself: a scale, a number of heads, a softmax."""

    def __init__(
        self, heads: int = 2, scale: float = 8**-0.5, causal: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.heads = heads
        self.scale = scale
        self.causal = causal
        self.softmax_dtype = dtype


class Block(nn.Module):
    """One block, its parts in the order in which they are given."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in ({"norm": nn.LayerNorm(8), "attn": Attention()} | parts).items():
            self.add_module(name, part)


def net(**parts: Any) -> nn.Module:
    """Three blocks and a head; parts are classes or functions, called for each block."""
    module = nn.Module()
    module.layers = nn.ModuleList(Block(**{name: each() for name, each in parts.items()}) for _ in range(3))
    module.head = nn.Linear(8, 2)
    return module


def verdict(old: Model, new: Model) -> ckpt.Verdict:
    """What the comparison of today's definition with the snapshot of an earlier one gives."""
    recorded = fingerprint.loads(fingerprint.dumps(ckpt.define(old)), "net.json")
    return ckpt.diff(recorded, ckpt.define(new))


def told(old: Model, new: Model) -> list[str]:
    """The details of what is told; every key has to load."""
    found = verdict(old, new)
    assert found.compatible, str(found)
    return [change.detail for change in found.changes if change.rule == "CK502"]


def conv(**settings: Any) -> Model:
    return lambda: nn.Conv2d(4, 4, 3, **settings)


def of(**parts: Any) -> Model:
    return lambda: net(**parts)


#: Attributes that torch derives from another setting.
_DERIVED = ("activation_relu_or_gelu", "in_channels", "head_dim")
SURE, MAY, TRAINING = "computes something else", "may compute something else", " in training"

#: name -> the definition before and after, and what is told of each module that it concerns.
EDITS: dict[str, tuple[Model, Model, str]] = {
    "eps": (of(), of(norm=lambda: nn.LayerNorm(8, eps=1e-12)), f"eps 1e-05 -> 1e-12, {SURE}"),
    "activation": (of(act=nn.GELU), of(act=nn.ReLU), f"torch.nn.GELU -> torch.nn.ReLU, {SURE}"),
    "the approximation of an activation": (
        of(act=nn.GELU),
        of(act=lambda: nn.GELU("tanh")),
        f"approximate 'none' -> 'tanh', {SURE}",
    ),
    "an activation taken away": (
        of(act=nn.GELU),
        of(act=nn.Identity),
        f"torch.nn.GELU -> torch.nn.Identity, {SURE}",
    ),
    "the scale of an attention": (
        of(),
        of(attn=lambda: Attention(scale=1.0)),
        f"scale 0.353553390593 -> 1.0, {MAY}",
    ),
    "the number of heads": (of(), of(attn=lambda: Attention(heads=4)), f"heads 2 -> 4, {MAY}"),
    "the mask of an attention": (
        of(),
        of(attn=lambda: Attention(causal=True)),
        f"causal False -> True, {MAY}",
    ),
    "the dtype of a softmax": (
        of(),
        of(attn=lambda: Attention(dtype=torch.float16)),
        f"softmax_dtype torch.float32 -> torch.float16, {MAY}",
    ),
    "heads of torch's own attention": (
        lambda: nn.MultiheadAttention(8, 2),
        lambda: nn.MultiheadAttention(8, 4),
        f"num_heads 2 -> 4, {SURE}",
    ),
    "stride": (conv(), conv(stride=2), f"stride (1, 1) -> (2, 2), {SURE}"),
    "padding": (conv(), conv(padding=1), f"padding (0, 0) -> (1, 1), {SURE}"),
    "padding mode": (
        conv(padding=1),
        conv(padding=1, padding_mode="circular"),
        f"padding_mode 'zeros' -> 'circular', {SURE}",
    ),
    "dilation": (conv(), conv(dilation=2), f"dilation (1, 1) -> (2, 2), {SURE}"),
    "groups of equal shapes": (
        lambda: nn.GroupNorm(2, 8),
        lambda: nn.GroupNorm(4, 8),
        f"num_groups 2 -> 4, {SURE}",
    ),
    "groups of a convolution": (
        lambda: nn.Conv2d(8, 8, 1, groups=4),
        lambda: nn.Conv2d(2, 8, 1, groups=1),
        f"groups 4 -> 1, {SURE}",
    ),
    "the dimension of a softmax": (
        of(soft=lambda: nn.Softmax(dim=-1)),
        of(soft=lambda: nn.Softmax(dim=1)),
        f"dim -1 -> 1, {SURE}",
    ),
    "how an upsampling interpolates": (
        of(up=lambda: nn.Upsample(scale_factor=2)),
        of(up=lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
        f"mode 'nearest' -> 'bilinear', {SURE}",
    ),
    "pooling": (
        of(pool=lambda: nn.AvgPool2d(2)),
        of(pool=lambda: nn.MaxPool2d(2)),
        f"torch.nn.AvgPool2d -> torch.nn.MaxPool2d, {SURE}",
    ),
    "a norm of another kind": (
        lambda: nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False)),
        lambda: nn.Sequential(nn.GroupNorm(2, 4)),
        f"torch.nn.BatchNorm2d -> torch.nn.GroupNorm, {SURE}",
    ),
    "the order of norms": (
        lambda: nn.TransformerEncoderLayer(8, 2),
        lambda: nn.TransformerEncoderLayer(8, 2, norm_first=True),
        f"norm_first False -> True, {SURE}",
    ),
    "an activation that is a function": (
        lambda: nn.TransformerDecoderLayer(8, 2),
        lambda: nn.TransformerDecoderLayer(8, 2, activation=F.gelu),
        f"activation torch.nn.functional.relu -> torch.nn.functional.gelu, {SURE}",
    ),
    "the axis of a batch": (
        lambda: nn.LSTM(4, 4),
        lambda: nn.LSTM(4, 4, batch_first=True),
        f"batch_first False -> True, {SURE}",
    ),
    "the rate of a dropout": (
        of(drop=lambda: nn.Dropout(0.1)),
        of(drop=lambda: nn.Dropout(0.3)),
        f"p 0.1 -> 0.3, {SURE}{TRAINING}",
    ),
    "a dropout that came": (of(), of(drop=nn.Dropout), f"torch.nn.Dropout(p=0.5) came, {MAY}{TRAINING}"),
    "a dropout that is gone": (
        of(drop=nn.Dropout),
        of(),
        f"torch.nn.Dropout(p=0.5) is gone, {MAY}{TRAINING}",
    ),
    "the momentum of a batch norm": (
        lambda: nn.BatchNorm1d(4),
        lambda: nn.BatchNorm1d(4, momentum=0.01),
        f"momentum 0.1 -> 0.01, {SURE}{TRAINING}",
    ),
    "the padding index of an embedding": (
        lambda: nn.Embedding(8, 4),
        lambda: nn.Embedding(8, 4, padding_idx=0),
        f"padding_idx None -> 0, {SURE}",
    ),
}


@pytest.mark.parametrize(("old", "new", "detail"), EDITS.values(), ids=EDITS)
def test_an_edit_that_loads_is_told(old: Model, new: Model, detail: str) -> None:
    found = told(old, new)
    assert {text for text in found if not text.startswith(_DERIVED)} == {detail}
    assert verdict(new, old).compatible
    assert told(old, old) == told(new, new) == []


def test_the_place_of_a_dropout_in_a_sequence_is_told() -> None:
    def sequence(*layers: nn.Module) -> Model:
        return lambda: nn.Sequential(nn.Linear(4, 4), *layers)

    found = verdict(sequence(nn.Dropout(), nn.GELU()), sequence(nn.GELU(), nn.Dropout()))
    assert [(c.new, c.detail) for c in found.changes] == [
        (("1",), f"torch.nn.Dropout -> torch.nn.GELU, {SURE}"),
        (("2",), f"torch.nn.GELU -> torch.nn.Dropout, {SURE}"),
    ]


class Rotary(nn.Module):
    """A buffer with a default, and work that only ``forward`` says."""

    def __init__(self, base: float = 10_000.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", base ** -torch.arange(4.0))


def test_what_only_outputs_show_is_not_told() -> None:
    """The default of a buffer is no setting; nor is what ``forward`` does, as an order of residuals."""

    class Residual(Attention):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x

    class Attention2(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    Residual.__name__ = Residual.__qualname__ = Attention2.__qualname__ = Attention2.__name__ = "Same"
    assert told(Rotary, lambda: Rotary(500.0)) == []
    assert told(of(attn=Residual), of(attn=Attention2)) == []


# Refactors: nothing is told -------------------------------------------------------------------------


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


def sequence(*layers: Callable[[], nn.Module]) -> Model:
    return lambda: nn.Sequential(*(layer() for layer in layers))


def linear() -> nn.Module:
    return nn.Linear(4, 4)


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
    "a weight norm": (linear, lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))),
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


# Renames, and folding -------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Twelve blocks under a name."""

    def __init__(
        self, name: str = "layers", eps: float = 1e-12, act: Model = nn.GELU, rate: float = 0.0
    ) -> None:
        super().__init__()
        blocks = nn.ModuleList()
        for number in range(12):
            block = nn.Module()
            block.norm = nn.LayerNorm(8, eps=eps)
            block.fc = nn.Linear(8, 8)
            block.act = act()
            block.drop = nn.Dropout(rate * number / 11)
            blocks.append(block)
        self.add_module(name, blocks)
        self.head = nn.Linear(8, 2)


def test_the_report_is_folded() -> None:
    found = verdict(Encoder, lambda: Encoder(eps=1e-6, act=nn.ReLU, rate=0.22))
    assert str(found).replace(__name__, "models").splitlines()[0] == (
        "CK502 models.Encoder: loads, layers.{0..11}.norm: eps 1e-12 -> 1e-06 (12 modules), "
        "computes something else; 23 more changes of settings"
    )
    assert [line for line in str(found).splitlines() if line.startswith("  *")] == [
        "  * layers.{0..11}.norm   eps 1e-12 -> 1e-06   12 modules   computes something else",
        "  * layers.{0..11}.act    torch.nn.GELU -> torch.nn.ReLU   12 modules   computes something else",
        "  * layers.{1..11}.drop   p 0.0 -> 0.02 to 0.22   11 modules   computes something else in training",
    ]
    assert found.compatible
    assert {change.severity for change in found.changes} == {Severity.WARNING}


def test_the_report_reads_well() -> None:
    def encoder(eps: float, act: Model, rate: float) -> Model:
        def build() -> nn.Module:
            module = Encoder(eps=eps, act=act)
            module.add_module("head", nn.Sequential())
            module.head.drop = nn.Dropout(rate)
            module.head.fc = nn.Linear(8, 2)
            return module

        return build

    found = verdict(encoder(1e-12, nn.GELU, 0.1), encoder(1e-6, nn.ReLU, 0.3))
    labels = ("encoder-v1", "checkpoints/v1.pt", "models.Encoder (models.py:5)")
    text = str(replace(found, name=labels[0], old_label=labels[1], new_label=labels[2]))
    assert f"{text}\n" == (Path(__file__).parent / "golden" / "settings.txt").read_text(encoding="utf-8")


def test_every_module_has_its_own_row_in_full() -> None:
    from pytest_ckpt_compat._report.text import render

    text = render(verdict(Encoder, lambda: Encoder(rate=0.22)), full=True)
    assert "  * layers.3.drop    p 0.0 -> 0.06   computes something else in training" in text


def test_renamed_modules_are_compared_through_the_renames() -> None:
    found = verdict(Encoder, lambda: Encoder("blocks", eps=1e-6, act=nn.ReLU))
    assert not found.compatible
    assert [line for line in str(found).splitlines() if line[:3] in ("  *", "  ~")] == [
        "  ~ layers.* -> blocks.*                         48 tensors",
        "  * layers.{0..11}.norm -> blocks.{0..11}.norm   eps 1e-12 -> 1e-06   12 modules   "
        "computes something else",
        "  * layers.{0..11}.act -> blocks.{0..11}.act     torch.nn.GELU -> torch.nn.ReLU   12 modules   "
        "computes something else",
    ]


def test_a_hook_that_renames_is_seen_through() -> None:
    class Hooked(Encoder):
        def __init__(self) -> None:
            super().__init__("blocks", eps=1e-6)
            self.register_load_state_dict_pre_hook(self._rename)  # type: ignore[no-untyped-call]

        @staticmethod
        def _rename(_: nn.Module, state_dict: dict[str, Any], *__: Any) -> None:
            for key in list(state_dict):
                if key.startswith("layers."):
                    state_dict[f"blocks.{key.removeprefix('layers.')}"] = state_dict.pop(key)

    from pytest_ckpt_compat._check.check import check_structure
    from pytest_ckpt_compat._core.changes import Policy
    from pytest_ckpt_compat._definition.find import find

    found = check_structure(ckpt.define(Encoder), find(Hooked), Policy())
    assert [c.detail for c in found.changes] == [f"eps 1e-12 -> 1e-06, {SURE}"] * 12
    assert found.changes[0].new == ("blocks.0.norm",)


def test_a_layer_put_into_a_sequence_is_told_and_what_follows_is_not() -> None:
    def wide(width: int) -> Model:
        return lambda: nn.Linear(width, width + 1)

    old = sequence(wide(2), nn.GELU, wide(3), nn.Tanh, wide(4))
    new = sequence(wide(2), nn.Dropout, nn.GELU, wide(3), nn.Tanh, wide(4))
    found = [c for c in verdict(old, new).changes if c.rule == "CK502"]
    assert [(c.new, c.detail) for c in found] == [(("1",), f"torch.nn.Dropout(p=0.5) came, {MAY}{TRAINING}")]


def test_ten_thousand_modules_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of times that all modules are looked through, since a clock proves nothing."""
    looked: list[int] = []

    def counted(structure: ckpt.Structure) -> set[str]:
        looked.append(len(structure.modules))
        return leaves(structure)

    monkeypatch.setattr("pytest_ckpt_compat._check.settings.leaves", counted)
    found = verdict(of(drop=lambda: nn.Dropout(0.1)), of(drop=lambda: nn.Dropout(0.3)))
    assert len(found.changes) == 3
    assert len(looked) == 4


def test_the_outermost_module_has_a_name() -> None:
    found = verdict(lambda: nn.Linear(2, 2), lambda: nn.Linear(2, 2))
    assert found.changes == ()
    text = str(verdict(lambda: nn.BatchNorm1d(4), lambda: nn.BatchNorm1d(4, eps=1.0)))
    assert "the outermost module: eps 1e-05 -> 1.0, computes something else" in text
