"""Observes which tensors a load writes to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ckpt_compat._definition.build import is_lazy, storage_identity
from pytest_ckpt_compat._definition.intercept import intercept


@dataclass
class Watched:
    """The observed calls of operators.

    Attributes:
        written: storages that operators wrote to, through any view or ``.data``.
        refused: whether an operator raised, as operators that need numbers do on a meta tensor.
    """

    written: set[int] = field(default_factory=set)
    refused: bool = False


@contextlib.contextmanager
def watch_operators() -> Iterator[Watched]:
    """Observes every call of a torch operator inside the context."""
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
    """Returns the identity of a tensor's storage; None if it is empty, or there is none."""
    import torch

    if not isinstance(value, torch.Tensor) or is_lazy(value) or not value.numel():
        return None
    try:
        return storage_identity(value)
    except (NotImplementedError, RuntimeError):  # sparse tensors and other layouts
        return None


def _written(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> set[int]:
    # A lenient loader fills in the model's own tensor for a missing one: a copy onto itself.
    source = storage_of(args[1]) if operator._schema.name == "aten::copy_" else None
    arguments = operator._schema.arguments
    given = [
        *zip(arguments, args, strict=False),
        *((a, kwargs[a.name]) for a in arguments if a.name in kwargs),
    ]
    found = (storage_of(value) for a, value in given if a.alias_info is not None and a.alias_info.is_write)
    return {storage for storage in found if storage is not None and storage != source}
