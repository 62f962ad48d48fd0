"""Visits the modules and the tensors of a module, in torch's order but without its nested generators.

``nn.Module.modules()`` passes each module up through a generator for every level around it, and a check
of a large model visits all of them a dozen times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


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
        left += [child for child in reversed(part._modules.values()) if child is not None]


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


def tensors_of(module: nn.Module) -> list[torch.Tensor]:
    """Every registered parameter, then every registered buffer, each once."""
    parts = list(parts_of(module))
    found: dict[int, torch.Tensor] = {}
    found |= {id(each): each for part in parts for each in part._parameters.values() if each is not None}
    found |= {id(each): each for part in parts for each in part._buffers.values() if each is not None}
    return list(found.values())
