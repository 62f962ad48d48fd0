"""Real models as trees of modules, without weights."""

from __future__ import annotations

import copy
import functools
import random
import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from benchmarks.rename_corpus import words
from benchmarks.rename_corpus.architectures import MOST_KEYS, TRANSFORMERS, _transformers, declare_operators

Module = Any
_CONTAINERS = ("ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParameterDict")
#: The module in which classes of the made-up project are.
PROJECT = "project.layers"


def drawn(r: random.Random) -> tuple[str, str, Module]:
    """Name, design and a copy of a model."""
    while True:
        design = r.choices(list(TRANSFORMERS), weights=list(map(len, TRANSFORMERS.values())))[0]
        name, depth = r.choice(TRANSFORMERS[design]), r.choice((2, 3, 4, 6, 11, 12, 12))
        model = built(name, depth if design not in ("pyramid", "convolution") else 0)
        if model is not None:
            return name, design, copy.deepcopy(model)


@functools.lru_cache(maxsize=256)
def built(name: str, depth: int) -> Module | None:
    """A model of transformers without weights; None if it has few or very many tensors."""
    declare_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _transformers(name, depth)
    return model if 12 < len(model.state_dict()) <= MOST_KEYS else None


def kind_of(part: Module) -> str:
    """The name of a module's class."""
    return type(part).__name__


def classes(model: Module) -> dict[str, list[Module]]:
    """Class -> its modules that have others in them, without containers and the model itself."""
    found: defaultdict[str, list[Module]] = defaultdict(list)
    for part in model.modules():
        if part._modules and kind_of(part) not in _CONTAINERS and part is not model:
            found[kind_of(part)].append(part)
    return dict(sorted(found.items()))


def renamed(part: Module, name: str, other: str) -> bool:
    """Gives a child another name; its place among the others stays."""
    if name not in part._modules or other in {*part._modules, *part._parameters, *part._buffers, ""}:
        return False
    items = [(other if key == name else key, child) for key, child in part._modules.items()]
    part._modules.clear()
    part._modules.update(items)
    return True


def recast(part: Module, name: str) -> None:
    """Makes a module one of a class of the project that computes the same."""
    kind: Any = type(part)
    part.__class__ = subclass(kind, name)


@functools.cache
def subclass(kind: Any, name: str) -> Any:
    return type(name, (kind,), {"__module__": PROJECT, "__qualname__": name})


def another_name(r: random.Random, name: str) -> str:
    """A synonym, another style, a word more or less, or a word that says nothing."""
    way = r.random()
    found = words.synonym(r, name) if way < 0.6 else words.restyled(r, name) if way < 0.7 else ""
    if not found and way < 0.9:
        found = words.affixed(r, name)
    return found or r.choice(words.STRANGE)


def tensors(model: Module) -> Iterator[tuple[str, Any]]:
    """Each key with its tensor; tied ones once."""
    seen: set[int] = set()
    for key, tensor in model.state_dict(keep_vars=True).items():
        if hasattr(tensor, "shape") and id(tensor) not in seen:
            seen.add(id(tensor))
            yield key, tensor
