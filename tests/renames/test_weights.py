"""Each kind of evidence is needed: without it, a model is matched wrongly that is matched rightly with it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial

import pytest

from benchmarks.rename_corpus import corpus
from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.match import alignment
from pytest_ckpt_compat._renames.match.alignment import align
from pytest_ckpt_compat._renames.match.evidence import Weights
from pytest_ckpt_compat._renames.units.units import units_of

from .models import Specs, conv, linear, merged, norm, spec

#: Names of modules, which a refactor gives to others as well.
_WORDS = (
    "attn",
    "proj",
    "mix",
    "norm1",
    "norm2",
    "fc1",
    "fc2",
    "gate",
    "left",
    "right",
    "stem",
    "out",
    "pre",
)
_WIDTHS = (8, 8, 8, 12)


def _tree(r: random.Random, path: str = "", depth: int = 0) -> Iterator[Specs]:
    """The layers of a random model: containers, numbered blocks, and layers of few shapes."""
    for word in r.sample(_WORDS, r.randint(2, 4)):
        here = f"{path}{word}"
        if depth < 2 and r.random() < 0.5:
            seed, count = r.random(), r.choice((0, 0, 2, 3))
            for number in range(count) if count else ("",):
                inner = random.Random(seed) if r.random() < 0.8 else r
                yield from _tree(inner, f"{here}.{number}." if count else f"{here}.", depth + 1)
        else:
            width, inputs = r.choice(_WIDTHS), r.choice(_WIDTHS)
            layer = r.choice((linear(here, width, inputs), norm(here, width), conv(here, width, inputs)))
            yield {key: each for key, each in layer.items() if r.random() < 0.9 or key.endswith("weight")}


def refactored(seed: int) -> tuple[Specs, Specs, dict[str, str]]:
    """A model, what a refactor made of it, and which layer became which."""
    r = random.Random(seed)
    old = merged(*_tree(r))
    fresh = [*_WORDS, *("layer_norm", "dense", "query", "body", "head", "post", "linear1", "linear2")]
    names = {word: word if r.random() < 0.5 else r.choice(fresh) for word in _WORDS}
    shift = r.choice((0, 0, 1))
    modules: dict[str, str] = {}
    for key in old:
        words = key.rpartition(".")[0].split(".")
        modules[".".join(words)] = ".".join(
            str(int(word) + shift) if word.isdigit() else names[word] for word in words
        )
    if len(set(modules.values())) < len(modules):
        return {}, {}, {}
    gone = {module for module in modules if r.random() < 0.05}
    new = {}
    for key, value in old.items():
        module, _, name = key.rpartition(".")
        if module not in gone:
            new[f"{modules[module]}.{name}"] = value
    if r.random() < 0.3:
        new |= linear("extra", 8, 8)
    if r.random() < 0.3:  # the transposes of all weights of one shape
        new = {key: spec(8, 12) if value.shape == (12, 8) else value for key, value in new.items()}
    return old, new, {module: name for module, name in modules.items() if module not in gone}


def matched(old: Specs, new: Specs, weights: Weights) -> dict[str, str]:
    """Which layer is matched with which."""
    ours, theirs = units_of(old), units_of(new)
    found = align(ours, theirs, weights)
    rows, cols = found.pairs.rows[found.chosen].tolist(), found.pairs.cols[found.chosen].tolist()
    return {ours[a].path: theirs[b].path for a, b in zip(rows, cols, strict=True)}


def right(seed: int, weights: Weights) -> bool:
    """Whether every layer is matched with the one that it became."""
    old, new, truth = refactored(seed)
    found = matched(old, new, weights)
    return all(found.get(unit.path) == truth[unit.path] for unit in units_of(old) if unit.path in truth)


#: Kind of evidence -> a model that is matched rightly with it alone.
SEEDS = {
    "name": 386,
    "telling": 386,
    "same_path": 757,
    "roles": 23,
    "number_order": 20,
    "kind_order": 20,
    "file_order": 192,
    "surroundings": 386,
    "modules": 83,
    "module_order": 269,
    "templates": 213,
    "endings": 83,
    "numbers": 20,
    "ordinals": 213,
    "neighbours": 20,
}


def test_every_kind_of_evidence_has_a_model() -> None:
    elsewhere = {"shape", "same_number", "classes", "ancestry"}  # the latter two in test_classes.py
    assert {*SEEDS} | elsewhere == {field.name for field in fields(Weights)}


@pytest.mark.parametrize("name", SEEDS)
def test_no_evidence_is_idle(name: str) -> None:
    assert right(SEEDS[name], Weights())
    assert not right(SEEDS[name], replace(Weights(), **{name: 0.0}))


def test_a_stack_of_single_layers_keeps_its_numbers_where_it_is_extended_or_cut() -> None:
    def stack(name: str, depth: int) -> Specs:
        layers = (linear(f"{name}.{n}.fc", 8, 8) for n in range(depth))
        return merged(linear("stem", 8, 4), *layers, linear("head", 3, 8))

    for one, other in ((4, 6), (6, 4)):
        truth = {"stem": "stem", "head": "head", **{f"blocks.{n}.fc": f"layers.{n}.fc" for n in range(4)}}
        old, new = stack("blocks", one), stack("layers", other)
        assert truth.items() == matched(old, new, Weights()).items()
        assert truth.items() != matched(old, new, Weights(same_number=0.0)).items()


def test_the_exact_shape_is_preferred_to_a_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    """No small model shows it; in a large one whose layers transpose into each other, some depend on it."""
    (case,) = (case for case in corpus.read() if case.name == "generated_11_176_hiera_tiny_224")

    def found() -> int:
        changes = infer(dict(sorted(case.old.items())), case.new)
        return sum(
            case.truth.renames.get(change.old[0]) == change.new[0]
            for change in changes
            if change.new and change.old
        )

    complete = found()
    monkeypatch.setattr(alignment, "Weights", partial(Weights, shape=0.0))
    assert found() < complete
