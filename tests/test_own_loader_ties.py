"""A loader of safetensors' kind: tied tensors are saved once, and it raises by itself what a load did not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat import check
from pytest_ckpt_compat._cli.main import main
from pytest_ckpt_compat._core.verdict import Verdict


class Net(nn.Module):
    def __init__(self, width: int = 4, second: str = "second", tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, width)
        self.first = nn.Linear(4, 3)
        self.add_module(second, nn.Linear(4, 5))
        self.head = nn.Linear(width, 6, bias=False)
        if tied:
            self.head.weight = self.embed.weight


def verdict(path: Path, **changed: Any) -> Verdict:
    def load(path: str) -> nn.Module:
        net = Net(**changed)
        load_model(net, path)
        return net

    save_model(Net(), str(path))
    return check(path, load=load)


def test_a_key_that_is_tied_to_one_that_was_loaded_is_not_missing(tmp_path: Path) -> None:
    assert not verdict(tmp_path / "net.safetensors").changes
    torch.save(Net(tied=False).state_dict(), tmp_path / "net.pt")

    def one_of_two(path: str) -> nn.Module:
        net = Net()
        state = torch.load(path)
        net.load_state_dict({key: state[key] for key in state if key != "head.weight"}, strict=False)
        return net

    def neither(path: str) -> nn.Module:
        net = Net()
        state = torch.load(path)
        net.load_state_dict({key: state[key] for key in state if key.startswith("first.")}, strict=False)
        return net

    def missing(load: Any) -> list[str]:
        changes = check(tmp_path / "net.pt", load=load).changes
        return [key for each in changes if each.kind == "missing" for key in each.new]

    assert missing(one_of_two) == []
    assert missing(neither) == ["embed.weight", "second.weight", "second.bias", "head.weight"]


def test_what_it_raises_of_keys_is_told_as_changes(tmp_path: Path) -> None:
    found = verdict(tmp_path / "net.safetensors", second="other")
    assert {each.kind for each in found.changes} == {"renamed"}
    assert not found.compatible
    assert "raised" not in str(found)


def test_a_tie_that_came_apart_is_missing(tmp_path: Path) -> None:
    found = verdict(tmp_path / "net.safetensors", tied=False)
    assert [each.kind for each in found.changes] == ["missing"]
    assert not found.compatible


@pytest.mark.parametrize(
    "text",
    [
        'Error(s) in loading state_dict for Net: Missing key(s) in state_dict: "nowhere"',
        'Error(s) in loading state_dict for Net: Missing key(s) in state_dict: "head.weight" and more',
    ],
)
def test_anything_more_that_it_raises_is_an_error_of_its_own(text: str, tmp_path: Path) -> None:
    def load(path: str) -> nn.Module:
        net = Net()
        load_model(net, path)
        raise RuntimeError(text)

    path = tmp_path / "net.safetensors"
    save_model(Net(), str(path))
    found = check(path, load=load)
    assert [each.kind for each in found.changes if each.severity] == ["load-raises"]


def test_show_says_of_a_tied_key_under_which_one_it_was_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.safetensors"
    save_model(Net(), str(path), metadata={"note": "luck"})
    kept, left = sorted(("embed.weight", "head.weight"), key=lambda key: key not in ckpt.read(path).tensors)
    assert main(["show", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == [f"saved once: {left} as {kept}", "also holds note"]
