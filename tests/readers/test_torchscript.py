"""TorchScript archives: the state_dict of ``torch.jit.load``, and source text that is never run."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import Structure, alias_groups
from pytest_ckpt_compat._readers import read
from tests.readers.agreement import assert_locations, identity, spec

DATA = Path(__file__).parent / "data"

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, about TorchScript
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


class Net(torch.nn.Module):
    """Has every kind of attribute that an archive can hold beside parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(2, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.tied = self.first.weight
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("transient", torch.ones(2), persistent=False)
        self.aside = torch.ones(4)
        self.number = 3
        self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)])
        self.kept = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(3))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled = x * self.scale * self.transient  # type: ignore[operator]
        y: torch.Tensor = self.norm(self.first(scaled)) + self.aside[0]
        for layer in self.layers:
            y = layer(y)
        return y


def traced(net: torch.nn.Module) -> Any:
    return torch.jit.trace(net, torch.ones(2, 2))  # type: ignore[no-untyped-call]


def load(path: Path) -> dict[str, torch.Tensor]:
    module: Any = torch.jit.load(path)  # type: ignore[no-untyped-call]
    return dict(module.state_dict())


def save(module: Any, path: Path) -> None:
    module.save(path)


def assert_agrees(structure: Structure, state_dict: dict[str, torch.Tensor]) -> None:
    assert structure.tensors == {key: spec(tensor) for key, tensor in state_dict.items()}
    assert list(structure.tensors) == list(state_dict)
    assert structure.aliases == alias_groups({key: identity(tensor) for key, tensor in state_dict.items()})
    assert_locations(structure, state_dict)


@pytest.mark.parametrize("make", [torch.jit.script, traced])
def test_agrees_with_torch(tmp_path: Path, make: Callable[[torch.nn.Module], Any]) -> None:
    make(Net().eval()).save(tmp_path / "net.pt")
    structure = read(tmp_path / "net.pt")
    assert structure.source.format == "TorchScript"
    assert structure.versions is None
    assert_agrees(structure, load(tmp_path / "net.pt"))


def test_an_archive_of_torch_1_13() -> None:
    path = DATA / "torch-1.13-script.pt"
    assert_agrees(read(path), load(path))


def edited(tmp_path: Path, edit: Callable[[str, bytes], bytes | None]) -> Path:
    """An archive with some of its records changed, or left out."""
    save(torch.jit.script(torch.nn.Sequential(torch.nn.Linear(1, 1))), tmp_path / "net.pt")
    path = tmp_path / "edited.pt"
    with zipfile.ZipFile(tmp_path / "net.pt") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = edit(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return path


def test_source_text_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    payload = f"__import__('pathlib').Path({str(marker)!r}).touch()\n".encode()
    path = edited(tmp_path, lambda name, data: payload + data if name.endswith(".py") else data)
    assert list(read(path).tensors) == ["0.weight", "0.bias"]
    assert not marker.exists()


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda name, data: None if "linear" in name else data, "source text of .* is missing"),
        (lambda name, data: b"\xff\xfe" if "container" in name else data, "does not declare"),
        (lambda _, data: data.replace(b'"bias", ', b'"bias", "lost", '), "lacks its tensor 'lost'"),
        (lambda name, data: b"N." if name.endswith("data.pkl") else data, "not a TorchScript module"),
        (lambda name, data: data + b" " * (5 << 20) if name.endswith(".py") else data, "the limit"),
    ],
)
def test_archives_that_lie(tmp_path: Path, edit: Callable[[str, bytes], bytes | None], problem: str) -> None:
    with pytest.raises(ReadError, match=problem):
        read(edited(tmp_path, edit))


def test_a_module_without_tensors(tmp_path: Path) -> None:
    save(torch.jit.script(torch.nn.ReLU()), tmp_path / "net.pt")
    with pytest.raises(ReadError, match="it holds no state_dict"):
        read(tmp_path / "net.pt")
