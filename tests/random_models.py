"""Random module trees as plain recipes, random edits of them, and the modules they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

#: What a recipe of one leaf may be: a name and its sizes.
Leaf = tuple[str, tuple[int, ...]]

_NAMES = st.sampled_from(["stem", "body", "head", "norm", "attn", "fc", "0", "1", "proj"])
_SIZE = st.sampled_from([1, 1, 2, 3])
#: Kinds of leaves by how many sizes they take: exchanged, they keep some keys and change others.
_KINDS = {
    0: ["scalar", "empty"],
    1: ["batchnorm", "untracked", "vector", "half", "legacy", "gamma", "extra"],
    2: ["linear", "conv", "embedding"],
}
_LEAVES = st.one_of(
    *(st.tuples(st.sampled_from(kinds), st.tuples(*[_SIZE] * sizes)) for sizes, kinds in _KINDS.items())
)


@dataclass(frozen=True)
class Recipe:
    """A module: a leaf, or named children, some of them tied."""

    leaf: Leaf | None
    children: tuple[tuple[str, Recipe], ...] = ()
    #: Whether the first parameter of the first child also stands here as "tied".
    tied: bool = False


def _branch(children: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    named = st.lists(st.tuples(_NAMES, children), min_size=1, max_size=4, unique_by=lambda pair: pair[0])
    return st.builds(lambda pairs, tied: Recipe(None, tuple(pairs), tied), named, st.booleans())


recipes = _branch(st.recursive(st.builds(Recipe, _LEAVES), _branch, max_leaves=6))


class Scalar(nn.Module):
    """One parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(torch.linspace(0, 1, 3)[1].item()))


class Vector(nn.Module):
    """One parameter and a buffer that is not saved."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(size))
        self.register_buffer("mask", torch.ones(size), persistent=False)


class Extra(nn.Module):
    """A module with extra state."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get_extra_state(self) -> dict[str, int]:
        return {"size": self.size}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.size = state["size"]


class Legacy(nn.Module):
    """Was saved as "gamma" in version 1, and renames it, but not for a file that names no version."""

    _version = 2

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version") == 1 and prefix + "gamma" in state_dict:
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "gamma")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class Gamma(nn.Module):
    """What ``Legacy`` was before it was renamed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(size))


def build(recipe: Recipe) -> nn.Module:
    """The module that a recipe stands for, freshly initialised."""
    if recipe.leaf is not None:
        kind, sizes = recipe.leaf
        makers: Mapping[str, Any] = {
            "linear": nn.Linear,
            "conv": lambda a, b: nn.Conv2d(a, b, 1),
            "batchnorm": nn.BatchNorm1d,
            "untracked": lambda n: nn.BatchNorm1d(n, track_running_stats=False),
            "embedding": nn.Embedding,
            "scalar": Scalar,
            "vector": Vector,
            "empty": nn.ReLU,
            "extra": Extra,
            "half": lambda n: nn.LayerNorm(n).half(),
            "legacy": Legacy,
            "gamma": Gamma,
        }
        module: nn.Module = makers[kind](*sizes)
        return module
    branch = nn.Module()
    for name, child in recipe.children:
        branch.add_module(name, build(child))
    first = next(iter(branch.parameters()), None)
    if recipe.tied and first is not None:
        branch.tied = first
    return branch


@st.composite
def edits(draw: st.DrawFn, recipe: Recipe) -> Recipe:
    """The recipe after up to three changes of the kind that people make."""
    for _ in range(draw(st.integers(0, 3))):
        recipe = draw(_one_edit(recipe))
    return recipe


@st.composite
def _one_edit(draw: st.DrawFn, recipe: Recipe) -> Recipe:
    if recipe.leaf is not None:
        return draw(_leaf_edit(recipe))
    children = list(recipe.children)
    index = draw(st.integers(0, len(children) - 1))
    name, child = children[index]
    taken = {each for each, _ in children}
    what = draw(st.sampled_from(["inside", "inside", "rename", "drop", "add", "wrap", "tie", "move"]))
    if what == "inside":
        children[index] = (name, draw(_one_edit(child)))
    elif what == "rename":
        children[index] = (draw(_NAMES.filter(lambda n: n == name or n not in taken)), child)
    elif what == "drop" and len(children) > 1:
        del children[index]
    elif what == "add":
        children.insert(index, (draw(_NAMES.filter(lambda n: n not in taken)), Recipe(draw(_LEAVES))))
    elif what == "wrap":
        return Recipe(None, (("module", recipe),))
    elif what == "tie":
        return replace(recipe, tied=not recipe.tied)
    elif what == "move":
        children.insert(0, children.pop(index))
    return replace(recipe, children=tuple(children))


@st.composite
def _leaf_edit(draw: st.DrawFn, recipe: Recipe) -> Recipe:
    assert recipe.leaf is not None
    kind, sizes = recipe.leaf
    what = draw(st.sampled_from(["kind", "sizes", "squeeze", "other"]))
    if what == "kind":
        return replace(recipe, leaf=(draw(st.sampled_from(_KINDS[len(sizes)])), sizes))
    if what == "sizes":
        return replace(recipe, leaf=(kind, tuple(draw(_SIZE) for _ in sizes)))
    if what == "squeeze" and kind in ("vector", "scalar"):
        return replace(recipe, leaf=("scalar", ()) if kind == "vector" else ("vector", (draw(_SIZE),)))
    return replace(recipe, leaf=draw(_LEAVES))
