"""Modules whose hooks decide by the numbers of a checkpoint's tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.wide.hooks import Named, Variant, before


def _decides(question: Callable[[torch.Tensor], Any]) -> tuple[Variant, ...]:
    """Hooks that drop the weight where the answer is yes, or no, or that give it its name."""

    def drop(answer: bool) -> Callable[..., Any]:
        def hook(state: Any, prefix: str, *_rest: Any) -> None:
            weight = state.get(prefix + "weight")
            if weight is not None and bool(question(weight)) is answer:
                del state[prefix + "weight"]

        return hook

    def rename(state: Any, prefix: str, *_rest: Any) -> None:
        weight = state.get(prefix + "gamma")
        if weight is not None and question(weight):
            state[prefix + "weight"] = state.pop(prefix + "gamma")

    return (before(drop(True), "weight"), before(drop(False), "weight"), before(rename, "weight"), _gamma)


def _gamma(size: int) -> nn.Module:
    return Named(size, "gamma")


def _as_numpy(tensor: torch.Tensor) -> Any:
    import numpy as np

    return np.asarray(tensor).sum() > 3


def _caught(tensor: torch.Tensor) -> bool:
    with contextlib.suppress(Exception):
        return tensor.mean().item() > 3
    return False


def _first_row(tensor: torch.Tensor) -> bool:
    return any(float(row[0]) > 3 for row in tensor)


def _sized(size: int) -> nn.Module:
    """Its hook makes a tensor as long as there are numbers above three."""

    def hook(state: Any, prefix: str, *_rest: Any) -> None:
        weight = state.get(prefix + "weight")
        if weight is not None:
            state[prefix + "weight"] = weight[weight > 3].reshape(-1, 2)

    return before(hook, "weight")(size)


def _by_a_list(size: int) -> nn.Module:
    """Its hook selects rows by a list that is in the file."""

    def hook(state: Any, prefix: str, *_rest: Any) -> None:
        weight, order = state.get(prefix + "weight"), state.pop(prefix + "order", None)
        if weight is not None and order is not None:
            state[prefix + "weight"] = weight[(order.long() % len(weight)).flatten()[: len(weight)]]

    return before(hook, "weight")(size)


class Repeats(Named):
    """Sets its size by a number in the file, as quantizers and codebooks do."""

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        rows = state.get(prefix + "rows")
        if rows is not None:
            self.weight = nn.Parameter(torch.zeros(int(rows.max()), 2))
        super()._load_from_state_dict(state, prefix, *rest)


KINDS: dict[str, tuple[Variant, ...]] = {
    **{
        f"reads: {name}": _decides(question)
        for name, question in {
            "item": lambda t: t.max().item() > 3,
            "if": lambda t: (t > 3).all(),
            "float": lambda t: float(t.sum()) > 3,
            "list": lambda t: t.tolist()[0][0] > 3,
            "rows": _first_row,
            "numpy": _as_numpy,
            "caught": _caught,
            "equal": lambda t: torch.equal(t, torch.full_like(t, 7)),
            "allclose": lambda t: torch.allclose(t, torch.full_like(t, 7)),
            "unique": lambda t: len(t.unique()) == 1,
            "nonzero": lambda t: t.nonzero().shape[0] > 1,
            "text": lambda t: "7" in str(t),
            "nan": lambda t: not torch.isnan(t).any(),
            "norm": lambda t: torch.linalg.norm(t) > 3,
            "in": lambda t: 7.0 in t,
            "index": lambda t: [1, 2, 3, 4, 5, 6, 7, 8][int(t[0, 0])] > 3,
        }.items()
    },
    "reads: a size": (_sized,),
    "reads: an order": (_by_a_list, lambda n: Named(n, "weight", "order")),
    "reads: a count": (
        lambda n: Repeats(n, "weight"),
        lambda n: Repeats(n, "weight", "rows"),
        lambda n: Named(7, "weight", "rows"),
    ),
}
