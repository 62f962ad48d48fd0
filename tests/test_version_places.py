"""Where a registration says that a file keeps its version, and what is there instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.errors import UsageError

State = dict[str, Any]


class Encoder(nn.Module):
    """A module that bumps torch's own ``_version``."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.new = nn.Linear(2, 2)


class Net(nn.Module):
    """A model with that module and another."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Linear(2, 2)
        self.rate = nn.Dropout(0.1)


def rename(state: State) -> State:
    assert "encoder.old.weight" in state, "applied to a file of today"
    return {key.replace("encoder.old.", "encoder.new."): value for key, value in state.items()}


def saved(folder: Path, version: int, **others: Any) -> Path:
    state = Net().state_dict()
    if version == 1:
        for name in ("weight", "bias"):
            state[f"encoder.old.{name}"] = state.pop(f"encoder.new.{name}")
        state._metadata["encoder"]["version"] = 1  # type: ignore[attr-defined]
    torch.save({"model": state, **others} if others else state, folder / "net.pt")
    return folder / "net.pt"


@pytest.mark.parametrize("version", [1, 2])
def test_the_version_of_a_module(tmp_path: Path, version: int) -> None:
    verdict = ckpt.check(saved(tmp_path, version), Net, migrate={2: rename}, version="encoder._version")
    assert verdict.compatible, str(verdict)


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("enocder._version", "did you mean encoder._version?"),
        ("encoder.nwe._version", "did you mean encoder.new._version?"),
        (
            "backbone._version",
            "the file has encoder._version, head._version, encoder.new._version, and _version",
        ),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_module_that_neither_side_has_is_refused(
    tmp_path: Path, place: str, advice: str, version: int
) -> None:
    """It was taken for version 1, silently, and today's file was given the old one's migration."""
    if version == 1:
        advice = (
            advice.replace("encoder.new", "encoder.old")
            if place != "encoder.nwe._version"
            else ("did you mean encoder._version?")
        )
    path = saved(tmp_path, version)
    with pytest.raises(UsageError) as caught:
        ckpt.check(path, Net, migrate={2: lambda state: state}, version=place)
    problem = f"version {place}: names a module that neither the file nor the definition has"
    assert str(caught.value) == f"{problem}; {advice}"


def test_a_module_that_came_later_makes_a_file_an_old_one(tmp_path: Path) -> None:
    """As torch takes it: what a file does not have has no version in it."""
    state = {
        "old.weight": torch.zeros(2, 2),
        "old.bias": torch.zeros(2),
        **{key: value for key, value in Net().state_dict().items() if key.startswith("head.")},
    }
    torch.save(state, tmp_path / "net.pt")

    def move(state: State) -> State:
        return {key.replace("old.", "encoder.new."): value for key, value in state.items()}

    verdict = ckpt.check(tmp_path / "net.pt", Net, migrate={2: move}, version="encoder._version")
    assert verdict.compatible, str(verdict)
    assert "the file has no encoder._version: taken for the oldest" in verdict.notes


def test_a_module_without_tensors_has_a_version(tmp_path: Path) -> None:
    verdict = ckpt.check(saved(tmp_path, 1), Net, migrate={2: rename}, version="rate._version")
    assert verdict.compatible, str(verdict)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("meta.verison", "the file has no meta.verison (it has meta.version): taken for the oldest"),
        (
            "meta.release",
            "the file has no meta.release (it has meta.epoch, meta.version): taken for the oldest",
        ),
        ("info.version", "the file has no info.version: taken for the oldest"),
        ("step", "the file has no step (it has steps): taken for the oldest"),
    ],
)
def test_what_stands_beside_a_place_that_is_not_there(tmp_path: Path, place: str, told: str) -> None:
    path = saved(tmp_path, 1, meta={"version": 1, "epoch": 3, "name": "net"}, steps=10)
    verdict = ckpt.check(path, Net, key="model", migrate={2: rename}, version=place)
    assert told in verdict.notes
