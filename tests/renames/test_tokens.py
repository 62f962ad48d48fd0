"""Words of keys, and units."""

from __future__ import annotations

import pytest

from pytest_ckpt_compat._renames.units.paths import numbers, template
from pytest_ckpt_compat._renames.units.tokens import (
    OPPOSITES,
    Names,
    opposed,
    segment_tokens,
    token_similarity,
)
from pytest_ckpt_compat._renames.units.units import units_of

from .models import spec


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        ("q_proj", ("q", "proj")),
        ("LayerNorm", ("norm",)),
        ("layernorm1", ("norm", "1")),
        ("dwconv", ("dw", "conv")),
        ("selfAttention", ("sa", "attn")),
        ("3", ()),
        ("fc2", ("linear", "2")),
        ("classifier", ("cls", "head")),
        ("heads", ("head",)),
        ("wqkv", ("q", "k", "v")),
    ],
)
def test_segments(segment: str, words: tuple[str, ...]) -> None:
    assert segment_tokens(segment) == words


@pytest.mark.parametrize("word", sorted(frozenset().union(*OPPOSITES)))
def test_words_that_exclude_each_other_are_such_as_names_give(word: str) -> None:
    assert segment_tokens(word) == (word,)


@pytest.mark.parametrize(
    ("old", "new", "are"),
    [
        ("encoder.layers.0.fc1", "decoder.layers.0.fc1", True),
        ("blocks.0.cross_attn.q", "blocks.0.self_attn.q", True),
        ("vision_model.encoder.proj", "text_model.encoder.proj", True),
        ("encoder.fc1", "enc.fc1", False),
        ("decoder.encoder_attn.q", "decoder.cross.q", False),
        ("actor.net.0", "policy.net.0", False),
        ("image_encoder.proj", "visual.proj", False),
    ],
)
def test_words_that_exclude_each_other(old: str, new: str, are: bool) -> None:
    assert opposed(old, new) is are


def test_numbers_and_template() -> None:
    assert numbers("layers.3.conv1.0.weight") == (3, 0)
    assert template("layers.3.conv1.0") == "layers.#.conv1.#"


def test_abbreviations_are_alike_and_numbers_are_not() -> None:
    assert token_similarity("det", "detection") > 0.5
    assert token_similarity("1", "2") == 0
    assert token_similarity("gate", "norm") == 0


def test_opposite_words_weigh_more_than_unlike_ones() -> None:
    names = Names(["attn.q", "attn.k", "attn.x"], ["att.q_proj", "att.k_proj", "att.y"])
    assert names.similarity("attn.q", "att.q_proj") > names.similarity("attn.x", "att.q_proj")
    assert names.similarity("attn.x", "att.q_proj") > names.similarity("attn.k", "att.q_proj")


def test_units() -> None:
    specs = {
        "bn.weight": spec(4),
        "bn.bias": spec(4),
        "bn.running_mean": spec(4),
        "attn.in_proj_weight": spec(12, 4),
        "attn.in_proj_bias": spec(12),
        "conv.parametrizations.weight.original0": spec(4, 1),
        "conv.parametrizations.weight.original1": spec(4, 4),
        "block.gamma": spec(4),
        "block.fc.weight": spec(4, 4),
        "grn.gamma": spec(4),
        "grn.beta": spec(4),
        "pos_embed": spec(1, 5, 4),
    }
    assert [(unit.path, len(unit.tensors)) for unit in units_of(specs)] == [
        ("bn", 3),
        ("attn.in_proj", 2),
        ("conv", 2),
        ("block.gamma", 1),
        ("block.fc", 1),
        ("grn", 2),
        ("pos_embed", 1),
    ]
