"""What ``torch.empty`` makes is on meta, unless the constructor would notice; every load is still seen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._definition import load as loads
from pytest_ckpt_compat._definition.build import build
from pytest_ckpt_compat._definition.confirm import load
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.versions import watch_versions


class ReadsANumber(nn.Module):
    """Reads a number out of a tensor that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(int(torch.empty(1).fill_(3).item()), 2)


class Swallows(nn.Module):
    """Takes another size where the number cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        try:
            size = int(torch.empty(1).fill_(3))
        except Exception:
            size = 1
        self.layer = nn.Linear(size, 2)


class Asks(nn.Module):
    """Asks on which device it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 if torch.empty(1).is_cpu else 1, 2)


class Compares(nn.Module):
    """Computes with real tensors beside, which meta cannot."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.empty(2).copy_(torch.tensor([3, 2]))
        width, classes = map(int, (table + torch.zeros(2)).tolist())
        self.layer = nn.Linear(width, classes)


@pytest.mark.parametrize("kind", [ReadsANumber, Swallows, Asks, Compares])
def test_a_constructor_that_notices_gets_numbers(kind: type[nn.Module]) -> None:
    assert ckpt.define(kind).tensors["layer.weight"].shape == (2, 3)


def test_large_parameters_are_built_once_and_take_no_memory() -> None:
    built = []

    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            built.append(self)
            table = nn.init.uniform_(torch.empty(1 << 20, 1 << 20))  # 4 TiB, filled before it is registered
            self.one, self.other = nn.Parameter(table), nn.Parameter(table[:, 1:])
            self.tied = self.one

    structure = ckpt.define(Large)
    assert len(built) == 1
    assert structure.tensors["other"].shape == (1 << 20, (1 << 20) - 1)
    assert structure.aliases == (("one", "tied"),)


def test_a_real_module_stays_real() -> None:
    """The tensors of a definition that is a module are looked at, and are not those of the copy on meta."""
    module = nn.Linear(2, 2)
    assert all(each.is_meta for each in build(find(module)).parameters())
    assert not any(each.is_meta for each in module.parameters())


class Net(nn.Module):
    """Tied, empty and scalar tensors, views of one storage, and a buffer that is not saved."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.tied = nn.Linear(width, width, bias=False)
        self.tied.weight = self.layers[0].weight  # type: ignore[assignment]
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.nothing = nn.Parameter(torch.empty(0, 2))
        whole = torch.zeros(4)
        self.first, self.second = nn.Parameter(whole[:2]), nn.Parameter(whole[2:])
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)


State = dict[str, torch.Tensor]
EDITS: Mapping[str, Callable[[State], State]] = {
    "same": lambda state: state,
    "another dtype": lambda state: {key: value.half() for key, value in state.items()},
    "a key less": lambda state: {key: value for key, value in state.items() if key != "layers.1.bias"},
    "half a tie": lambda state: {key: value for key, value in state.items() if key != "tied.weight"},
    "one view": lambda state: {key: value for key, value in state.items() if key != "first"},
    "a key more": lambda state: {**state, "other": torch.zeros(1)},
    "another name": lambda state: {key.replace("layers", "blocks"): value for key, value in state.items()},
    "another size": lambda state: {**state, "layers.0.weight": torch.zeros(4, 3)},
    "a scalar of one": lambda state: {**state, "scale": torch.zeros(1)},
    "nothing of it": lambda _: {"nothing": torch.zeros(0, 2), "else": torch.zeros(3)},
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_versions_say_what_operators_say(
    edit: str, strict: bool, budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pt"
    torch.save(EDITS[edit](dict(Net().state_dict())), path)
    structure = ckpt.read(path)
    asked: list[Any] = []
    monkeypatch.setattr(loads, "watch_versions", _counted(watch_versions, asked))
    by_versions = load(structure, find(Net), strict, budget)
    assert asked
    monkeypatch.setattr(loads, "copies_alone", lambda *_: False)
    by_operators = load(structure, find(Net), strict, budget)
    assert by_versions[0] == by_operators[0]
    assert replace(by_versions[1], given=None) == replace(by_operators[1], given=None)


def _counted(function: Any, calls: list[Any]) -> Any:
    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return counted


class LoadsByCode(Net):
    """Loads by code of its own."""

    def _load_from_state_dict(self, state: dict[str, Any], *more: Any) -> None:
        super()._load_from_state_dict(state, *more)


class Normed(nn.Sequential):
    """Has a layer into which torch puts a counter of its own."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("kind", [LoadsByCode, Normed])
def test_other_loading_code_is_watched_operator_by_operator(
    kind: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pt"
    torch.save(kind().state_dict(), path)
    monkeypatch.delattr(loads, "watch_versions")
    assert ckpt.check(path, kind).changes == ()


def test_the_package_is_imported_with_the_collector_at_rest() -> None:
    code = (
        "import gc, torch, pytest_ckpt_compat; before = gc.get_stats()[2]['collections'];"
        "pytest_ckpt_compat.check; assert gc.isenabled();"
        "assert gc.get_stats()[2]['collections'] == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
