"""Where the state_dict is found, and what the user is asked where that is open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read


def weights(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.ones(2) for name in names or ("a.weight", "a.bias")}


def optimizer() -> dict[str, Any]:
    net = torch.nn.Linear(2, 2)
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(2)).sum().backward()
    adam.step()
    return adam.state_dict()


@pytest.mark.parametrize(
    ("checkpoint", "container"),
    [
        (weights(), ""),
        ({"state_dict": weights()}, "state_dict"),
        ({"epoch": 1, "model": weights(), "optimizer": optimizer(), "loss": torch.tensor(1.0)}, "model"),
        ({"whatever": weights(), "adam": optimizer()}, "whatever"),
        ({"whatever": weights(), "model": weights()}, "model"),
        ({"model": {"state_dict": weights()}}, "model.state_dict"),
        ({"model": weights(), "aside": {"model": weights()}}, "model"),
        ({"net": weights(), "rng_state": {"cpu": torch.ones(3)}}, "net"),
        ({"state_dict": weights(), "hyper_parameters": {"class_weights": torch.ones(3)}}, "state_dict"),
        ({"state_dict": weights(), "callbacks": {"EMA": {"weights": weights()}}}, "state_dict"),
        ({"state_dict": weights(), "loops": {"fit_loop": {"state_dict": {}}}}, "state_dict"),
        ((weights(), 3), "0"),
        ({"encoder": weights(), "criterion": torch.nn.MSELoss()}, "encoder"),
        ({"encoder": weights(), "state": torch.nn.Sequential(torch.nn.ReLU())}, "encoder"),
        ({**weights(), "_extra_state": weights()}, ""),
        ({**weights("a.b", "c.d"), "epoch": 1}, ""),
    ],
)
def test_found_by_structure(tmp_path: Path, checkpoint: Any, container: str) -> None:
    torch.save(checkpoint, tmp_path / "run.pt")
    assert read(tmp_path / "run.pt").source.container == container


def test_one_state_dict_under_two_names_is_one(tmp_path: Path) -> None:
    shared = weights()
    torch.save({"model": shared, "ema": shared}, tmp_path / "run.pt")
    assert read(tmp_path / "run.pt").source.container == "model"


@pytest.mark.parametrize(
    "names", [("model", "ema"), ("generator", "discriminator"), ("params", "params_ema")]
)
def test_two_equally_good_are_the_users_choice(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "run.pt"
    torch.save({"epoch": 1, **{name: weights() for name in names}}, path)
    with pytest.raises(ReadError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: it holds 2 state_dicts of equal rank: {names[0]!r} (2 tensors), {names[1]!r} (2 tensors); "
        f'choose one with key="{names[0]}" or key="{names[1]}"'
    )
    assert read(path, key=names[1]).source.container == names[1]


def test_key_chooses_anything(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    torch.save({"model": weights("m"), "a.b": {"c": weights("x")}, "optimizer": weights("o")}, path)
    assert list(read(path, key="a.b.c").tensors) == ["x"]
    assert list(read(path, key="optimizer").tensors) == ["o"]
    with pytest.raises(ReadError, match=r"no state_dict at key='nope'; choose one with key=\"model\""):
        read(path, key="nope")
    with pytest.raises(ReadError, match=r"no state_dict at key='a.b'; choose one with key=\"a.b.c\""):
        read(path, key="a.b")


def test_key_of_the_top(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "model": weights()}, tmp_path / "run.pt")
    assert list(read(tmp_path / "run.pt", key="").tensors) == ["w", "model"]


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"epoch": 1},
        {"settings": {}},
        [],
        3,
        {1: torch.ones(1)},
        None,
        "text",
    ],
)
def test_nothing_to_compare(tmp_path: Path, checkpoint: Any) -> None:
    torch.save(checkpoint, tmp_path / "run.pt")
    with pytest.raises(ReadError, match="it holds no state_dict"):
        read(tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("checkpoint", "key"), [({}, None), ({"fc._extra_state": 3}, None), ({"model": {}}, "model")]
)
def test_a_state_dict_without_tensors(tmp_path: Path, checkpoint: Any, key: str | None) -> None:
    torch.save(checkpoint, tmp_path / "run.pt")
    assert list(read(tmp_path / "run.pt", key=key).tensors) == list(checkpoint.get(key, checkpoint))


@pytest.mark.parametrize("state", [{}, {"fc._extra_state": 3}])
def test_a_state_dict_without_tensors_among_other_values(tmp_path: Path, state: Any) -> None:
    torch.save({"epoch": 3, "settings": {}, "state_dict": state}, tmp_path / "run.pt")
    structure = read(tmp_path / "run.pt")
    assert list(structure.tensors) == list(state)
    assert structure.source.container == "state_dict"
