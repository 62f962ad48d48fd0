"""Watching what a load does to tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ckpt_compat._definition.build import is_lazy, storage_identity
from pytest_ckpt_compat._definition.intercept import intercept


@dataclass
class Watched:
    """What was seen.

    Attributes:
        written: the storages that operators wrote into, through whatever view or ``.data``.
        refused: whether an operator raised, as those do that need numbers a meta tensor has not.
    """

    written: set[int] = field(default_factory=set)
    refused: bool = False


@contextlib.contextmanager
def watch_operators() -> Iterator[Watched]:
    """Watches every operator of torch that runs meanwhile."""
    watched = Watched()

    def watch(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        watched.written |= _written(operator, args, kwargs)
        try:
            return operator(*args, **kwargs)
        except Exception:
            watched.refused = True
            raise

    with intercept(watch):
        yield watched


def storage_of(value: object) -> int | None:
    """Identity of a tensor's storage; None for anything that has none, or an empty one."""
    import torch

    if not isinstance(value, torch.Tensor) or is_lazy(value) or not value.numel():
        return None
    try:
        return storage_identity(value)
    except (NotImplementedError, RuntimeError):  # sparse tensors and other layouts
        return None


def _written(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> set[int]:
    # A tensor copied onto itself is one that a lenient loader has put in for a missing one.
    source = storage_of(args[1]) if operator._schema.name == "aten::copy_" else None
    arguments = operator._schema.arguments
    given = [
        *zip(arguments, args, strict=False),
        *((a, kwargs[a.name]) for a in arguments if a.name in kwargs),
    ]
    found = (storage_of(value) for a, value in given if a.alias_info is not None and a.alias_info.is_write)
    return {storage for storage in found if storage is not None and storage != source}
