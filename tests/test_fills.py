"""Torch's layers are built on meta without computing what would fill them, and refuse what they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._definition import build, confirm
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.fills import fills
from pytest_ckpt_compat._definition.find import find
from tests.counting import calls

CALLS: list[tuple[Callable[..., Any], tuple[int, ...], dict[str, Any]]] = [
    (nn.init.kaiming_uniform_, (3, 4), {"a": 5**0.5}),
    (nn.init.kaiming_uniform_, (3, 4, 2), {}),
    (nn.init.kaiming_uniform_, (3, 4), {"mode": "fan_out"}),
    (nn.init.kaiming_uniform_, (3, 4), {"mode": "FAN_OUT"}),
    (nn.init.kaiming_uniform_, (3,), {}),
    (nn.init.kaiming_uniform_, (0, 4), {}),
    (nn.init.kaiming_uniform_, (3, 4), {"mode": "both"}),
    (nn.init.kaiming_uniform_, (3, 4), {"nonlinearity": "swish"}),
    (nn.init.kaiming_uniform_, (3, 4), {"a": "much"}),
    (nn.init.uniform_, (3,), {"a": -1.0, "b": 1.0}),
    (nn.init.uniform_, (), {}),
    (nn.init.uniform_, (3,), {"a": "little"}),
]


def outcome(function: Callable[..., Any], tensor: torch.Tensor, given: dict[str, Any]) -> object:
    """What a call raises or warns of, or else whether it gives its tensor."""
    try:
        return function(tensor, **given) is tensor
    except (Exception, Warning) as error:  # warnings are errors in these tests
        return type(error), str(error)


@pytest.mark.parametrize(("function", "shape", "given"), CALLS)
def test_they_refuse_what_torch_refuses(
    function: Callable[..., Any], shape: tuple[int, ...], given: dict[str, Any]
) -> None:
    instead = fills(Doubts())[function]
    expected = outcome(function, torch.empty(shape), given)
    assert outcome(instead, torch.empty(shape, device="meta"), given) == expected
    assert outcome(instead, torch.empty(shape), given) == expected


def test_real_tensors_are_filled() -> None:
    torch.manual_seed(0)
    expected = nn.init.uniform_(torch.zeros(4))
    torch.manual_seed(0)
    assert torch.equal(fills(Doubts())[nn.init.uniform_](torch.zeros(4)), expected)


def test_a_layer_computes_nothing_to_fill_itself_with(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = find(lambda: nn.Sequential(*(nn.Linear(2, 2) for _ in range(50))))

    def work() -> int:
        with calls() as counted:
            confirm.defined(definition)
            return counted()

    work()  # imports, and what is looked up once
    quickly = work()
    monkeypatch.setattr(build, "fills", lambda _: {})
    assert work() - quickly > 50 * 50  # for each layer, torch calls a hundred functions


def test_what_is_drawn_after_it_is_in_doubt() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.second = nn.Linear(2, 1 + int(torch.rand(8).argmax()))

    torch.manual_seed(3)
    expected = tuple(Net().second.weight.shape)
    torch.manual_seed(3)
    assert confirm.defined(find(Net)).tensors["second.weight"].shape == expected
