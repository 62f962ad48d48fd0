"""Visits the modules and the tensors of a module, in torch's order but without its nested generators.

``nn.Module.modules()`` passes each module up through a generator for every level around it, and a check
of a large model visits all of them a dozen times.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Walk:
    """What one walk over a module finds.

    Attributes:
        parts: every module, as ``parts_of`` gives them.
        tensors: every parameter and buffer, as ``tensors_of`` gives them.
    """

    parts: Sequence[nn.Module]
    tensors: Sequence[torch.Tensor]


def walk(module: nn.Module) -> Walk:
    """Visits every module, and every tensor."""
    parts = list(parts_of(module))
    return Walk(parts, tensors_among(parts))


def parts_of(module: nn.Module) -> Iterator[nn.Module]:
    """Every module once, the outermost first, as ``module.modules()`` gives them."""
    seen: set[int] = set()
    left = [module]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if part._modules:
            left += [child for child in reversed(part._modules.values()) if child is not None]


def has_own(parts: Iterable[nn.Module], hooks: Sequence[str], methods: frozenset[str]) -> bool:
    """Whether one of these parts has a hook, or a method that is not its class's.

    Args:
        parts: modules.
        hooks: names of the attributes in which a module keeps its hooks.
        methods: names that only classes have.
    """
    for part in parts:
        own = part.__dict__
        if not own.keys().isdisjoint(methods) or any(map(own.get, hooks)):
            return True
    return False


def named_parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once with the first path to it, as ``module.named_modules()`` gives them."""
    seen: set[int] = set()
    left = [("", module)]
    while left:
        path, part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        before = f"{path}." if path else ""
        inside = reversed(part._modules.items())
        left += [(before + name, child) for name, child in inside if child is not None]


def tensors_of(module: nn.Module) -> Sequence[torch.Tensor]:
    """Every registered parameter, then every registered buffer, each once."""
    return walk(module).tensors


def tensors_among(parts: Sequence[nn.Module]) -> list[torch.Tensor]:
    """As ``tensors_of``, of the modules that ``parts_of`` gave."""
    found: dict[int, torch.Tensor] = {}
    found |= {id(each): each for part in parts for each in part._parameters.values() if each is not None}
    found |= {id(each): each for part in parts for each in part._buffers.values() if each is not None}
    return list(found.values())


def named_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer under each of its names, with those of a module before those inside it.

    Raises:
        RecursionError: a module is in itself.
    """
    deepest = sys.getrecursionlimit()
    left = [("", module, 0)]
    while left:
        before, part, depth = left.pop()
        if depth > deepest:
            raise RecursionError("a module is in itself")
        for registered in (part._parameters, part._buffers):
            if registered:
                yield from ((before + name, each) for name, each in registered.items() if each is not None)
        if part._modules:
            inside = reversed(part._modules.items())
            left += [(f"{before}{name}.", each, depth + 1) for name, each in inside if each is not None]
