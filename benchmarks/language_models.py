"""Language models of today's sizes in plain torch, and sparse checkpoints of them that take no disk.

Nothing draws from a normal distribution: on meta, torch imports its compiler for that, which would cost the
floor of ``whole_check`` a second that no check has to spend.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Size:
    """The sizes of a language model; ``experts`` of 0 is a dense one.

    Attributes:
        vocabulary: rows of the embedding and of the head.
        width: of the residual stream.
        inner: of the feed-forward layers.
        layers: how many.
        keys_width: outputs of the layers for keys and values.
        experts: in each layer but the first ``dense``.
        expert_inner: the inner width of an expert.
        dense: layers at the beginning that have no experts.
    """

    vocabulary: int
    width: int
    inner: int
    layers: int
    keys_width: int
    experts: int = 0
    expert_inner: int = 0
    dense: int = 0


SIZES: Mapping[str, Size] = {
    "7B": Size(32_000, 4096, 11_008, 32, 4096),
    "70B": Size(32_000, 8192, 28_672, 80, 1024),
    "671B": Size(129_280, 7168, 18_432, 61, 7168, experts=256, expert_inner=2048, dense=3),
}


class Norm(nn.Module):
    """The scale of an RMS norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Embedding(nn.Module):
    """Rows, uniformly initialised."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))
        nn.init.uniform_(self.weight, -0.02, 0.02)


class Attention(nn.Module):
    """Four projections."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.q_proj = nn.Linear(size.width, size.width, bias=False)
        self.k_proj = nn.Linear(size.width, size.keys_width, bias=False)
        self.v_proj = nn.Linear(size.width, size.keys_width, bias=False)
        self.o_proj = nn.Linear(size.width, size.width, bias=False)


class FeedForward(nn.Module):
    """Three projections."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)


class Experts(nn.Module):
    """A router, many experts, and one that all tokens pass."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gate = nn.Linear(size.width, size.experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(size.width, size.expert_inner) for _ in range(size.experts))
        self.shared_expert = FeedForward(size.width, size.expert_inner)


class Layer(nn.Module):
    """Attention, and a feed-forward part that may consist of experts."""

    def __init__(self, size: Size, number: int) -> None:
        super().__init__()
        self.self_attn = Attention(size)
        routed = size.experts and number >= size.dense
        self.mlp = Experts(size) if routed else FeedForward(size.width, size.inner)
        self.input_layernorm = Norm(size.width)
        self.post_attention_layernorm = Norm(size.width)


class LanguageModel(nn.Module):
    """An embedding, layers, a norm and a head."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed_tokens = Embedding(size.vocabulary, size.width)
        self.layers = nn.ModuleList(Layer(size, number) for number in range(size.layers))
        self.norm = Norm(size.width)
        self.lm_head = nn.Linear(size.width, size.vocabulary, bias=False)


def define(name: str, variant: str) -> Callable[[], nn.Module]:
    """A factory of the definition that a checkpoint of ``name`` is loaded into.

    The checkpoint is always the same; of the variant ``resized``, the definition has a larger vocabulary.
    """
    size = SIZES[name]
    if variant == "resized":
        size = replace(size, vocabulary=size.vocabulary + 64)
    return lambda: LanguageModel(size)


_SAFETENSORS = {torch.float32: ("F32", 4), torch.bfloat16: ("BF16", 2)}


def write_sparse(path: str, name: str, variant: str) -> int:
    """Writes a safetensors file whose numbers are a hole; returns its size in bytes.

    Variants: ``same``; ``another dtype``, bfloat16; ``renamed``, one key in every layer; ``resized``, which
    is the same file.
    """
    with torch.device("meta"):
        state = LanguageModel(SIZES[name]).state_dict()
    code, item = _SAFETENSORS[torch.bfloat16 if variant == "another dtype" else torch.float32]
    header: dict[str, Any] = {}
    end = 0
    for key, tensor in state.items():
        begin, end = end, end + math.prod(tensor.shape) * item
        shown = key.replace("self_attn.o_proj", "self_attn.dense") if variant == "renamed" else key
        header[shown] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return 8 + len(text) + end


def header_of(path: str) -> dict[str, Any]:
    """The header of a safetensors file, as the plainest code would read it."""
    with open(path, "rb") as file:
        found: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return found
