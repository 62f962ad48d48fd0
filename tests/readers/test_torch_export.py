"""Archives of ``torch.export``: the state_dict of ``torch.export.load``, of today and of before."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read
from tests.readers.agreement import assert_agrees, assert_locations
from tests.readers.test_torchscript import Net

CONFIG = "model_weights_config.json"

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch's own, about its format
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def program() -> Any:
    net = Net().eval()
    net.register_buffer("brief", torch.ones(2, dtype=torch.bfloat16))
    net.register_buffer("turned", torch.arange(6.0).reshape(2, 3).t())
    return torch.export.export(net, (torch.ones(2, 2),))


@pytest.fixture(scope="module")
def good(program: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "net.pt2"
    torch.export.save(program, path)
    return path


def test_agrees_with_torch(good: Path) -> None:
    structure = read(good)
    loaded = torch.export.load(good).state_dict
    assert structure.source.format == "torch.export"
    assert structure.tensors.keys() == loaded.keys()
    assert_agrees(structure, {key: loaded[key] for key in structure.tensors})
    assert_locations(structure, loaded)


def test_the_layout_before_2_8(tmp_path: Path, program: Any) -> None:
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    parts = serialize(program)
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:  # as torch.export.save of torch 2.4 does
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
        archive.writestr("serialized_exported_program.json", parts.exported_program)
        archive.writestr("serialized_state_dict.pt", parts.state_dict)
        archive.writestr("serialized_constants.pt", parts.constants)
        archive.writestr("serialized_example_inputs.pt", parts.example_inputs)
    structure = read(path)
    loaded = torch.export.load(path).state_dict
    assert structure.tensors.keys() == loaded.keys()
    assert_agrees(structure, {key: loaded[key] for key in structure.tensors})
    assert not structure.locations


def edited(good: Path, path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The archive with its table of weights changed."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(CONFIG):
                table = json.loads(data)
                edit(table)
                data = json.dumps(table).encode()
            new.writestr(name, data)
    return path


def change(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda table: table["config"]["first.weight"].update(values)


def meta(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda table: table["config"]["first.weight"]["tensor_meta"].update(values)


@pytest.mark.parametrize(
    "edit",
    [
        change(path_name="weight_99"),
        change(path_name="../weights/weight_0"),
        change(path_name=3),
        change(tensor_meta=None),
        meta(dtype=99),
        meta(dtype=[7]),
        meta(dtype=8),
        meta(sizes=[{"as_int": 4}, {"as_int": 2}]),
        meta(sizes=[{"as_int": -3}, {"as_int": 2}]),
        meta(sizes=[{"as_int": 1 << 62}, {"as_int": 1 << 62}]),
        meta(sizes=[{"as_expr": "s0"}]),
        meta(sizes=3),
        meta(sizes=[{"as_int": 6}]),
        meta(strides=[{"as_int": -1}, {"as_int": 1}]),
        meta(storage_offset={"as_int": 1}),
        meta(storage_offset={"as_int": -1}),
        lambda table: table.pop("config"),
        lambda table: table.update(config=[]),
        lambda table: table.update(config={}),
    ],
)
def test_tables_that_lie(tmp_path: Path, good: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    assert read(edited(good, tmp_path / "same.pt2", lambda _: None)).tensors
    with pytest.raises(ReadError):
        read(edited(good, tmp_path / "lie.pt2", edit))


def test_pickled_weights_are_not_opened(tmp_path: Path, good: Path) -> None:
    structure = read(edited(good, tmp_path / "net.pt2", change(use_pickle=True)))
    assert structure.tensors == read(good).tensors
    assert "first.weight" not in structure.locations


def test_several_models_are_the_users_choice(tmp_path: Path, good: Path) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
            if name.endswith(CONFIG):
                new.writestr(name.replace(CONFIG, f"ema_{CONFIG[6:]}"), old.read(name))
    with pytest.raises(ReadError, match=r"'ema', 'model'; choose one with key=\"ema\" or key=\"model\""):
        read(path)
    assert read(path, key="ema").source.container == "ema"
