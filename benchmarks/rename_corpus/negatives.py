"""Pairs of different models: no rename is true, or none can be known."""

from __future__ import annotations

import random
from collections import Counter

from benchmarks.rename_corpus.architectures import drawn, keys
from benchmarks.rename_corpus.case import Case, Specs, Truth
from benchmarks.rename_corpus.orders import ORDERS, ordered

#: Models of one design and one width in transformers: nobody can tell the one's layers from the other's
#: renamed ones by keys and shapes.
ALIKE = (
    ("bert", "mpnet"), ("distilbert", "ernie"), ("roformer", "mpnet"), ("distilbert", "mpnet"),
    ("big_bird", "squeezebert"), ("nystromformer", "distilbert"), ("xlm-roberta", "mpnet"), ("gpt2", "opt"),
    ("gpt_neo", "mpt"), ("gptj", "persimmon"), ("codegen", "gptj"), ("qwen3", "persimmon"), ("olmo2", "gptj"),
    ("mistral", "persimmon"), ("vit", "data2vec-vision"), ("deit", "videomae"), ("vivit", "timesformer"),
    ("wav2vec2", "data2vec-audio"), ("opt", "distilbert"), ("gpt2", "vit"),
)  # fmt: skip

#: What is made of layers of attention: of one width, they look like each other.
_ATTENTION = {"encoder", "decoder", "encoder-decoder", "audio", "vision", "two towers"}


def different(name: str, r: random.Random) -> Case:
    """Two models of different designs that share a width, not both of them made of attention."""
    while True:
        one, design, old = drawn(r)
        other, unlike, new = drawn(r)
        unknowable = {design, unlike} <= _ATTENTION
        if design != unlike and not unknowable and _width(old) == _width(new):
            return _pair(name, (one, other), old, new, r, blind=False)


def alike(name: str, r: random.Random) -> Case:
    """Two models of one design and one width."""
    one, other = r.sample(r.choice(ALIKE), 2)
    depth = r.choice((3, 6, 12))
    old, new = keys("transformers", one, depth), keys("transformers", other, depth)
    return _pair(name, (one, other), dict(old), dict(new), r, blind=True)


def _pair(name: str, models: tuple[str, str], old: Specs, new: Specs, r: random.Random, blind: bool) -> Case:
    shared = old.keys() & new.keys()
    truth = Truth(
        resized={key: key for key in old if key in shared and old[key].shape != new[key].shape},
        removed=frozenset(old.keys() - shared),
        added=frozenset(new.keys() - shared),
        blind_old=frozenset(old.keys() - shared) if blind else frozenset(),
        blind_new=frozenset(new.keys() - shared) if blind else frozenset(),
    )
    order = r.choice(ORDERS)
    kind = "alike" if blind else "different"
    edits = (f"{kind} {models[0]}, {models[1]}", f"order {order}")
    return Case(name, f"generated {kind}", "negative", ordered(old, order, r), new, truth, edits=edits)


def _width(specs: Specs) -> int:
    """The size that most tensors have."""
    sizes = Counter(size for spec in specs.values() for size in set(spec.shape) if size > 16)
    return sizes.most_common(1)[0][0] if sizes else 0
