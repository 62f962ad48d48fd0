"""Made-up refactors of real models whose modules are known: the two key lists, the classes, and the truth."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.rename_classes import edits, trees
from benchmarks.rename_classes.edits import Edit
from benchmarks.rename_classes.trees import Module
from benchmarks.rename_corpus.case import Case, Kind, Truth
from benchmarks.rename_corpus.negatives import ALIKE
from pytest_ckpt_compat import TensorSpec
from pytest_ckpt_compat._definition.module_classes import described

#: The edits, and how often each is tried.
EDITS: dict[Edit, int] = {
    edits.attribute: 12,
    edits.attributes: 8,
    edits.everywhere: 6,
    edits.wrap: 5,
    edits.unwrap: 4,
    edits.class_renamed: 5,
    edits.own_layers: 3,
    edits.own_layers_partly: 3,
    edits.stranger: 5,
    edits.other_class: 7,
    edits.replaced: 7,
    edits.reorder: 4,
    edits.longer: 3,
    edits.resized: 3,
}

#: Of a hundred cases, as many are pairs of models of one design.
_ALIKE = 6
#: Designs of which nothing is fitted or chosen by: the figures are of these.
LEFT_OUT = ("vision", "convolution", "encoder-decoder", "two towers", "codec", "state space")


@dataclass(frozen=True)
class Side:
    """The modules of one side: path -> class, and path -> settings, in order of registration."""

    modules: Mapping[str, str]
    settings: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Classed:
    """A case and the modules of both sides."""

    case: Case
    old: Side
    new: Side


def generate(seed: int, number: int) -> Iterator[Classed]:
    """That many cases; equal seeds give equal ones."""
    for each in range(number):
        r = random.Random(f"classes {seed} {each}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            alike = r.randrange(100) < _ALIKE
            yield _alike(f"alike_{seed}_{each}", r) if alike else _refactor(f"classes_{seed}_{each}", r)


def _refactor(name: str, r: random.Random) -> Classed:
    while True:
        title, design, model = trees.drawn(r)
        before = [edit(model, r) for edit in (edits.parallel, edits.typed) if r.random() < 0.3]
        old, old_side = dict(trees.tensors(model)), _side(model)
        done: list[str] = []
        for _ in range(r.choice((1, 1, 2, 2, 3, 4, 5))):
            (edit,) = r.choices(list(EDITS), weights=list(EDITS.values()))
            done.append(edit(model, r))
        new, new_side = dict(trees.tensors(model)), _side(model)
        if any(done) and old.keys() & new.keys() != old.keys() | new.keys():
            break
    told = tuple(each for each in (*done, *(f"before {b}" for b in before if b)) if each)
    kind: Kind = "mixed" if any(each.startswith("replace ") for each in told) else "refactor"
    if r.random() < 0.4:
        old, new, old_side, new_side = new, old, new_side, old_side
        told = (*told, "backwards")
    case = Case(f"{name}_{title}", design, kind, _specs(old), _specs(new), _truth(old, new), edits=told)
    return Classed(case, old_side, new_side)


def _alike(name: str, r: random.Random) -> Classed:
    """Two models of one design and one width, by different classes."""
    while True:
        titles, depth = r.sample(r.choice(ALIKE), 2), r.choice((3, 6, 12))
        one, other = (trees.built(title, depth) for title in titles)
        if one is not None and other is not None:
            break
    old, new = dict(trees.tensors(one)), dict(trees.tensors(other))
    shared = old.keys() & new.keys()
    gone, came = frozenset(old.keys() - shared), frozenset(new.keys() - shared)
    resized = {key: key for key in shared if old[key].shape != new[key].shape}
    truth = Truth(resized=resized, removed=gone, added=came, blind_old=gone, blind_new=came)
    told = (f"alike {titles[0]}, {titles[1]}",)
    case = Case(name, "alike", "negative", _specs(old), _specs(new), truth, edits=told)
    return Classed(case, _side(one), _side(other))


def _truth(old: Mapping[str, Module], new: Mapping[str, Module]) -> Truth:
    """By identity of the tensors; a table with other words is the same under its key."""
    owners = {id(tensor): key for key, tensor in new.items()}
    became = {key: owners[id(tensor)] for key, tensor in old.items() if id(tensor) in owners}
    taken = set(became.values())
    resized = {
        key: key
        for key, tensor in old.items()
        if key not in became and key in new and key not in taken and new[key].shape != tensor.shape
    }
    # Fresh numbers under an old key in its old shape load; nobody is told.
    stayed = {
        key for key in old if key not in became and key in new and key not in taken and key not in resized
    }
    removed = old.keys() - became.keys() - resized.keys() - stayed
    added = new.keys() - taken - resized.keys() - stayed
    renames = {key: other for key, other in became.items() if key != other}
    return Truth(renames, resized=resized, removed=frozenset(removed), added=frozenset(added))


def _side(model: Module) -> Side:
    modules = described(model)
    return Side(modules.classes, modules.settings)


def _specs(found: Mapping[str, Module]) -> dict[str, TensorSpec]:
    return {
        key: TensorSpec(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for key, tensor in found.items()
    }
