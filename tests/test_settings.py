"""Settings of modules: edits that load cleanly and compute something else are told, refactors are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import pytest_ckpt_compat as ckpt
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


def sequence(*layers: Callable[[], nn.Module]) -> Model:
    return lambda: nn.Sequential(*(layer() for layer in layers))


def linear() -> nn.Module:
    return nn.Linear(4, 4)


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
