"""A small model as source text, edits of it that load cleanly, and refactors that compute the same."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pytest_ckpt_compat._check import outputs
from pytest_ckpt_compat._check.check import diff
from pytest_ckpt_compat._check.outputs import Compared
from pytest_ckpt_compat._check.settings import settings_changes
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.confirm import defined
from pytest_ckpt_compat._definition.find import Definition, find
from pytest_ckpt_compat._registry.registration import Registration

SOURCE = """
import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("slopes", torch.linspace(0, 1, heads), persistent=False)

    def bias(self, length):
        place = torch.arange(length)
        return -self.slopes[:, None, None] * (place[:, None] - place[None, :]).abs()

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(d // self.heads) + self.bias(n)
        weights = scores.softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.act = nn.GELU()
        self.down = nn.Linear(2 * dim, dim)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        y = self.norm2(x)
        y = self.down(self.act(self.up(y)) * self.gate(y))
        return x + self.drop(y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList([Block(16, 4), Block(16, 4)])
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))
"""


@dataclass(frozen=True)
class Edit:
    """A change of the source.

    Attributes:
        name: what changed, in words.
        replaced: (text, text in its place) pairs.
        layers: the rules that tell it.
        where: a part of the words of CK501.
    """

    name: str
    replaced: tuple[tuple[str, str], ...]
    layers: tuple[str, ...] = ()
    where: str = ""


def _edit(name: str, old: str, new: str, layers: str = "", where: str = "") -> Edit:
    return Edit(name, ((old, new),), tuple(layers.split()), where)


EDITS = (
    _edit(
        "two branches swapped",
        "self.act(self.up(y)) * self.gate(y)",
        "self.act(self.gate(y)) * self.up(y)",
        "CK501",
        "before blocks.0.act, in forward of net.Block (blocks.0)",
    ),
    _edit(
        "another activation", "nn.GELU()", "nn.SiLU()", "CK501 CK502", "from blocks.0.act (torch.nn.SiLU) on"
    ),
    _edit(
        "GELU approximated", "nn.GELU()", 'nn.GELU(approximate="tanh")', "CK501 CK502", "from blocks.0.act "
    ),
    _edit(
        "another epsilon",
        "self.norm1 = nn.LayerNorm(dim)",
        "self.norm1 = nn.LayerNorm(dim, eps=1e-6)",
        "CK501 CK502",
        "from blocks.0.norm1 (torch.nn.LayerNorm) on",
    ),
    _edit(
        "a branch scaled",
        "return x + self.drop(y)",
        "return x + 0.5 * self.drop(y)",
        "CK501",
        "from blocks.0 (net.Block) on",
    ),
    _edit(
        "the residual around the norm",
        "x = x + self.attn(self.norm1(x))",
        "x = self.norm1(x); x = x + self.attn(x)",
        "CK501",
        "before blocks.0.norm2, in forward of net.Block (blocks.0)",
    ),
    _edit(
        "another scale of the attention",
        "math.sqrt(d // self.heads)",
        "math.sqrt(d)",
        "CK501",
        "before blocks.0.attn.proj, in forward of net.Attention (blocks.0.attn)",
    ),
    _edit(
        "another padding",
        "3, padding=1)",
        '3, padding=1, padding_mode="circular")',
        "CK501 CK502",
        "from stem (torch.nn.Conv1d) on",
    ),
    _edit(
        "another default of a buffer that is not saved",
        "torch.linspace(0, 1, heads)",
        "torch.linspace(0, 2, heads)",
        "CK501",
        "before blocks.0.attn.proj, ",
    ),
    _edit("another stride", "3, padding=1)", "3, padding=1, stride=2)", "CK501 CK502", "from stem "),
    _edit(
        "the norm after the mean",
        "self.norm(x).mean(dim=1)",
        "self.norm(x.mean(dim=1))",
        "CK501",
        "before norm, in forward of net.Net",
    ),
    _edit(
        "a softmax in float32",
        "scores.softmax(dim=-1)",
        "scores.softmax(dim=-1, dtype=torch.float32).to(scores.dtype)",
        "CK501",
        "it computes in float32, not in float64",
    ),
    _edit(
        "a softmax over the other axis",
        "softmax(dim=-1)",
        "softmax(dim=-2)",
        "CK501",
        "before blocks.0.attn.proj",
    ),
    _edit("query and key swapped", "q, k, v = self", "k, q, v = self", "CK501", "before blocks.0.attn.proj"),
    _edit("another pooling", ".mean(dim=1)", ".amax(dim=1)", "CK501", "before head, in forward of net.Net"),
    _edit(
        "other heads of the same width", "Block(16, 4)]", "Block(16, 2)]", "CK501 CK502", "blocks.1.attn.proj"
    ),
    _edit("a residual left out", "return x + self.drop(y)", "return self.drop(y)", "CK501", "from blocks.0 "),
    _edit("another rate of a dropout", "nn.Dropout(0.1)", "nn.Dropout(0.3)", "CK502"),
    Edit(
        "a dropout in another place",
        (("return x + self.drop(y)", "return self.drop(x + y)"),),
    ),
)

REFACTORS = (
    Edit("a layer without tensors renamed", (("self.act", "self.activation"),)),
    _edit("a factor written otherwise", "/ math.sqrt(d // self.heads)", "* (d // self.heads) ** -0.5"),
    Edit(
        "torch's own attention",
        (
            ("        scores = q @ k.transpose(-2, -1) / math.sqrt(d // self.heads) + self.bias(n)\n", ""),
            ("        weights = scores.softmax(dim=-1)\n", ""),
            ("(weights @ v)", "F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(n))"),
        ),
    ),
    _edit("a layer as a function", "nn.GELU()", "F.gelu"),
    Edit("a class renamed", (("Attention", "SelfAttention"),)),
    _edit(
        "heads divided otherwise",
        "self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)",
        "(t.view(b, n, self.heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))",
    ),
    _edit("a product as einsum", "q @ k.transpose(-2, -1)", 'torch.einsum("bhid,bhjd->bhij", q, k)'),
    _edit(
        "a product in the other order",
        "self.act(self.up(y)) * self.gate(y)",
        "self.gate(y) * self.act(self.up(y))",
    ),
    _edit("a sum in place", "return x + self.drop(y)", "return self.drop(y).add_(x)"),
    Edit(
        "a list became a sequence",
        (
            ("nn.ModuleList([Block(16, 4), Block(16, 4)])", "nn.Sequential(Block(16, 4), Block(16, 4))"),
            ("        for block in self.blocks:\n            x = block(x)\n", "        x = self.blocks(x)\n"),
        ),
    ),
    _edit(
        "activations computed again",
        "x = block(x)",
        "x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)",
    ),
    _edit("a mean written as a sum", "self.norm(x).mean(dim=1)", "self.norm(x).sum(dim=1) / x.shape[1]"),
    _edit(
        "the output under a name",
        "return self.head(self.norm(x).mean(dim=1))",
        'return {"logits": self.head(self.norm(x).mean(dim=1))}',
    ),
    _edit(
        "a part moved to a method",
        "        return x + self.drop(y)\n",
        "        return self.added(x, y)\n\n    def added(self, x, y):\n        return x + self.drop(y)\n",
    ),
    Edit(
        "a key renamed, with a hook that renames it in old files",
        (
            ("self.head", "self.classifier"),
            (
                "        self.classifier = nn.Linear(16, 5)\n",
                "        self.classifier = nn.Linear(16, 5)\n"
                "        self.register_load_state_dict_pre_hook(self.rename)\n\n"
                "    @staticmethod\n"
                "    def rename(module, state, prefix, *rest):\n"
                "        for name in ('weight', 'bias'):\n"
                "            if prefix + 'head.' + name in state:\n"
                "                state[prefix + 'classifier.' + name] = state.pop(prefix + 'head.' + name)\n",
            ),
        ),
    ),
    Edit(
        "layers built in another order",
        (
            ("        self.norm = nn.LayerNorm(16)\n", ""),
            ("        self.stem = nn", "        self.norm = nn.LayerNorm(16)\n        self.stem = nn"),
        ),
    ),
)


def images() -> torch.Tensor:
    """A batch of two rows of three channels."""
    return torch.randn(2, 3, 12)


def model_of(source: str) -> Definition:
    """The model that a source defines, as a new process imports it."""
    module = types.ModuleType("net")
    sys.modules["net"] = module
    exec(compile(source, "net.py", "exec"), module.__dict__)
    return find(module.Net)


def edited(edit: Edit) -> str:
    """The source after an edit; each text that is replaced must be there."""
    source = SOURCE
    for old, new in edit.replaced:
        assert old in source, old
        source = source.replace(old, new)
    return source


def registered(inputs: object = images, model: Callable[..., nn.Module] | None = None) -> Registration:
    """A registered checkpoint whose definition is run."""
    return Registration("net", Path("net.pt"), "net.pt", model, inputs=inputs)


def record(definition: Definition, registration: Registration) -> Structure:
    """A definition's structure with its outputs."""
    structure = defined(definition)
    ran = outputs.recorded(registration, definition, {}, structure)
    assert ran.outputs, (ran.changes, ran.notes)
    return replace(structure, outputs=ran.outputs)


def compare(old: Structure, definition: Definition, registration: Registration) -> Compared:
    """What running a definition says of what was recorded."""
    new = defined(definition)
    return outputs.compared(registration, definition, {}, (old, new), diff(old, new).changes)


@functools.cache
def _before() -> Structure:
    return record(model_of(SOURCE), registered())


@functools.cache
def told(edit: Edit) -> tuple[tuple[str, ...], str]:
    """The rules that tell an edit, and the words of CK501."""
    old = _before()
    definition = model_of(edited(edit))
    ran = compare(old, definition, registered())
    kinds = {each.kind for each in ran.changes}
    settings = settings_changes(old, defined(definition), ())
    assert kinds <= {"output-drift"}, ran
    assert not ran.notes
    rules = (*(["CK501"] if kinds else []), *(["CK502"] if settings else []))
    return rules, "".join(each.detail for each in ran.changes)
