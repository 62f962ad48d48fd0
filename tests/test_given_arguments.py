"""A constructor may change what it is given: each build, and each checkpoint, has arguments of its own."""

from __future__ import annotations

import argparse
import itertools
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._definition.given import own_arguments


class Config(dict[str, Any]):
    """A dictionary whose items are attributes, too, as several libraries have it."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.__dict__.update(items)


@dataclass
class Settings:
    sizes: list[int] = field(default_factory=lambda: [4, 2])


class Grows(nn.Module):
    """Puts the width of its input before those that it is given."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        sizes.insert(0, 3)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))


def of_object(given: Any) -> nn.Module:
    return Grows(given.sizes)


def of_items(given: Any) -> nn.Module:
    return Grows(given.pop("sizes"))


def of_parts(given: tuple[dict[str, Any]]) -> nn.Module:
    return of_items(given[0])


def grown(path: str, sizes: list[int]) -> nn.Module:
    module = Grows(sizes)
    module.load_state_dict(torch.load(path))
    return module


GIVEN: list[tuple[Callable[..., nn.Module], Callable[[], Any]]] = [
    (of_object, Settings),
    (of_object, lambda: argparse.Namespace(sizes=[4, 2])),
    (of_object, lambda: types.SimpleNamespace(sizes=[4, 2])),
    (of_object, lambda: Config(sizes=[4, 2])),
    (of_items, lambda: {"sizes": [4, 2]}),
    (of_items, lambda: OrderedDict(sizes=[4, 2])),
    (of_items, lambda: defaultdict(list, sizes=[4, 2])),
    (of_parts, lambda: ({"sizes": [4, 2]},)),
]


@pytest.mark.parametrize(("model", "made"), GIVEN)
def test_a_second_check_finds_what_the_first_did(
    tmp_path: Path, model: Callable[..., nn.Module], made: Callable[[], Any]
) -> None:
    torch.save(model(made()).state_dict(), tmp_path / "c.pt")
    given = made()
    for _ in range(2):
        assert ckpt.check(tmp_path / "c.pt", model, {"given": given}).compatible
    assert model(given) is not None


def test_a_loader_may_change_its_arguments(tmp_path: Path) -> None:
    torch.save(Grows([4, 2]).state_dict(), tmp_path / "c.pt")
    sizes = [4, 2]
    for _ in range(2):
        assert ckpt.check(tmp_path / "c.pt", load=grown, kwargs={"sizes": sizes}).compatible
    assert sizes == [4, 2]


def test_what_is_one_object_stays_one() -> None:
    both, alone = [1], object()
    own = own_arguments({"a": both, "b": {"c": both}, "alone": [alone], "same": (1, alone), "layer": nn.ReLU})
    assert own["a"] is own["b"]["c"]
    assert own["a"] is not both
    assert own["alone"][0] is alone
    assert own["same"][1] is alone
    assert own["layer"] is nn.ReLU


def test_what_holds_itself_is_copied() -> None:
    around: dict[str, Any] = {}
    around["self"] = around
    own = own_arguments({"given": around})["given"]
    assert own is not around
    assert own["self"] is own


class Fixed(dict[str, Any]):
    def __copy__(self) -> Any:
        raise TypeError("one is enough")


def test_what_gives_no_copy_is_given_as_it_is() -> None:
    fixed = Fixed()
    assert own_arguments({"given": fixed})["given"] is fixed
