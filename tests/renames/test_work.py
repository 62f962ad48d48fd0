"""How much work an explanation takes, counted in operations."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import aligned
from pytest_ckpt_compat._renames.match.alignment import _Problem

Specs = dict[str, TensorSpec]


def _model(layers: int, names: tuple[str, ...], width: int = 8) -> Specs:
    return {
        f"layers.{layer}.{name}.{tensor}": TensorSpec("float32", shape)
        for layer in range(layers)
        for name in names
        for tensor, shape in (("weight", (width, width)), ("bias", (width,)))
    }


def _as_is(specs: Specs) -> Specs:
    return specs


def _by_name(specs: Specs) -> Specs:
    return dict(sorted(specs.items()))


def _shuffled(specs: Specs) -> Specs:
    items = list(specs.items())
    random.Random(0).shuffle(items)
    return dict(items)


@pytest.mark.parametrize("order", [_as_is, _by_name, _shuffled])
def test_layers_alike_are_compared_once_in_any_order(order: Callable[[Specs], Specs]) -> None:
    pairs = [
        len(aligned(order(_model(layers, ("q", "k", "out"))), _model(layers, ("wq", "wk", "wo")))[3].pairs)
        for layers in (6, 60)
    ]
    assert pairs == [9, 9]


def test_no_assignment_is_measured_twice_by_the_search_for_better_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[bytes] = []
    settling: list[bool] = []
    objective, settle = _Problem.objective, _Problem.settle

    def counted(problem: _Problem, chosen: Any) -> float:
        if not settling:
            measured.append(chosen.tobytes())
        return objective(problem, chosen)

    def settled(problem: _Problem, score: Any) -> Any:
        settling.append(True)
        found = settle(problem, score)
        settling.pop()
        return found

    monkeypatch.setattr(_Problem, "objective", counted)
    monkeypatch.setattr(_Problem, "settle", settled)
    old, new = _model(3, ("conv1", "conv2", "conv3")), _model(3, ("first", "middle", "second"))
    aligned(_shuffled(old), new)
    assert measured
    assert len(measured) == len(set(measured))
