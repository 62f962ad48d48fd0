"""A file that holds one state_dict a part, and a model that is a mapping of parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.errors import CkptCompatError, ReadError, UsageError

GAN = """
import torch
from torch import nn

class G(nn.Module):
    def __init__(self, width=4, name="net"):
        super().__init__()
        self.add_module(name, nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2)))

class D(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.body = nn.Linear(5, 5)
        self.head = nn.Linear(5, classes)

def optimizers(parts):
    return [torch.optim.Adam(part.parameters()) for part in parts.values()]
"""
SCOPE: dict[str, Any] = {}
exec(GAN, SCOPE)
G, D = SCOPE["G"], SCOPE["D"]
PARTS = {"generator": G, "discriminator": D}
torch.optim.Adam(D().parameters())  # imports much of torch, which pytester would take back after a test


class OwnLoad(nn.Module):
    """Its override is called for the outermost module alone, so a part must be loaded by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.new = nn.Linear(2, 2)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        renamed = {key.replace("old.", "new."): value for key, value in state_dict.items()}
        return super().load_state_dict(renamed, strict)


def states() -> dict[str, Any]:
    return {name: make().state_dict() for name, make in PARTS.items()}


def saved(path: Path, checkpoint: Any) -> Path:
    torch.save(checkpoint, path)
    return path


def really_loads(path: Path, models: Mapping[str, Any], kwargs: Mapping[str, Any]) -> bool:
    """Torch's own word: each part loaded into its model."""
    file = torch.load(path)
    try:
        for name, model in models.items():
            model(**kwargs.get(name, {})).load_state_dict(file[name])
    except (RuntimeError, KeyError):
        return False
    return True


OLD = {"old.weight": torch.zeros(2, 2), "old.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("checkpoint", "models", "kwargs"),
    [
        (states(), PARTS, {}),
        (states(), PARTS, {"generator": {"width": 5}}),
        (states(), PARTS, {"generator": {"name": "layers"}}),
        (states(), PARTS, {"discriminator": {"classes": 3}}),
        (states(), PARTS, {"generator": {"width": 5}, "discriminator": {"classes": 3}}),
        (states(), {"generator": G}, {}),
        (states(), {"generator": D, "discriminator": G}, {}),
        (states(), PARTS | {"other": D}, {}),
        ({**states(), "epoch": 3, "ema": G().state_dict()}, PARTS, {}),
        ({"generator": dict(G().state_dict()), "discriminator": D().state_dict()}, PARTS, {}),
        ({"a": OLD, "b": D().state_dict()}, {"a": OwnLoad, "b": D}, {}),
        ({"a.b": G().state_dict(), "c": D().state_dict()}, {"a.b": G, "c": D}, {}),
        ({"0": G().state_dict(), "1": D().state_dict()}, {"0": G, "1": D}, {}),
        ({"generator": G().state_dict(), "empty": {}}, {"generator": G, "empty": nn.ReLU}, {}),
    ],
)
def test_the_verdict_is_torchs_on_every_part(
    tmp_path: Path, checkpoint: Any, models: Any, kwargs: Any
) -> None:
    path = saved(tmp_path / "gan.pt", checkpoint)
    verdict = ckpt.check(path, models, kwargs)
    assert verdict.compatible is really_loads(path, models, kwargs), str(verdict)


def test_every_key_names_its_part(tmp_path: Path) -> None:
    path = saved(tmp_path / "gan.pt", {**states(), "ema": G().state_dict()})
    verdict = ckpt.check(path, PARTS, {"generator": {"name": "layers"}, "discriminator": {"classes": 3}})
    assert verdict.old is not None
    assert verdict.new is not None
    assert list(verdict.old.tensors)[:2] == ["generator.net.0.weight", "generator.net.0.bias"]
    assert list(verdict.new.tensors)[-1] == "discriminator.head.bias"
    text = str(verdict)
    assert "  ~ generator.net.* -> generator.layers.*   9 tensors\n" in text
    assert "  ! discriminator.head.bias                 float32[2] -> float32[3]   outputs 2 -> 3\n" in text
    assert verdict.notes == ("the file also holds ema, for which model= has no part",)


def test_a_part_that_the_file_lacks(tmp_path: Path) -> None:
    path = saved(tmp_path / "gan.pt", {"generator": G().state_dict(), "netD": D().state_dict()})
    for strict in (True, False):
        verdict = ckpt.check(path, PARTS, strict=strict)
        assert not verdict.compatible
        assert "discriminator: the file has no state_dict of this name; it also holds netD" in str(verdict)
        missing = [key for change in verdict.changes for key in change.new]
        assert missing == [f"discriminator.{key}" for key in D().state_dict()]


@pytest.mark.parametrize(
    ("checkpoint", "places"),
    [
        ({"state": states()}, ["state.generator", "state.discriminator"]),
        (
            {"nets": [{"generator": G().state_dict()}], "discriminator": D().state_dict()},
            ["nets.0.generator", "discriminator"],
        ),
        (
            {name: {"model": each, "epoch": 1} for name, each in states().items()},
            ["generator.model", "discriminator.model"],
        ),
        (
            {name: {"d": D().state_dict(), "g": G().state_dict()} for name in PARTS},
            ["generator.g", "discriminator.d"],
        ),
    ],
)
def test_a_nested_part_is_found(tmp_path: Path, checkpoint: Any, places: list[str]) -> None:
    verdict = ckpt.check(saved(tmp_path / "gan.pt", checkpoint), PARTS)
    assert verdict.compatible, str(verdict)
    assert verdict.old is not None
    assert [place for _, place in verdict.old.source.parts] == places
    assert verdict.notes[0].startswith("read generator from "), verdict.notes


def test_key_names_the_mapping_of_parts(tmp_path: Path) -> None:
    path = saved(tmp_path / "gan.pt", {"best": states(), "last": {**states(), "generator": D().state_dict()}})
    assert ckpt.check(path, PARTS, key="best").compatible
    assert not ckpt.check(path, PARTS, key="last").compatible


def test_strip_prefix_and_remap_apply_to_each_part(tmp_path: Path) -> None:
    wrapped = {name: {f"module.{k}": v for k, v in each.items()} for name, each in states().items()}
    path = saved(tmp_path / "gan.pt", wrapped)
    verdict = ckpt.check(path, PARTS)
    assert "~ generator.module.* -> generator.*" in str(verdict)
    assert "~ discriminator.module.* -> discriminator.*" in str(verdict)
    assert ckpt.check(path, PARTS, strip_prefix="module.").compatible

    def bare(state: Any) -> Any:
        return {key.removeprefix("module."): value for key, value in state.items()}

    verdict = ckpt.check(path, PARTS, migrate=bare)
    assert verdict.compatible, str(verdict)
    assert verdict.remapped["discriminator.module.head.bias"] == "discriminator.head.bias"
    assert verdict.migrated is not None
    assert verdict.migrated.origins["discriminator.head.bias"].keys == ("discriminator.module.head.bias",)
    assert len(verdict.migrated.applied) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"model": {}}, "model: is a mapping whose keys are not names of parts; write model="),
        ({"model": {1: G}}, "model: is a mapping whose keys are not names"),
        ({"model": {"generator": None}}, "model, part generator: is no model"),
        ({"model": {"g": G, "g.x": D}}, "'g', and 'g.x' inside it: their keys cannot be told apart"),
        (
            {"kwargs": {"width": 3}},
            "kwargs: has 'width', which is no part: .*; the parts are generator",
        ),
        ({"kwargs": {"generator": 3}}, "kwargs, part generator: is 3; give a dict for each part"),
        ({"load": "loading:load"}, "load: was given with a model of several parts"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, arguments: Any, complaint: str) -> None:
    path = saved(tmp_path / "gan.pt", states())
    with pytest.raises(UsageError, match=complaint):
        ckpt.check(path, **{"model": PARTS} | arguments)


@pytest.mark.parametrize(
    ("checkpoint", "complaint"),
    [
        (G().state_dict(), "it holds one state_dict, and none for each of the parts 'generator', 'discrim"),
        (
            {"netG": G().state_dict(), "netD": D().state_dict()},
            "it holds netG, netD; name the parts in",
        ),
        ({"epoch": 3}, "it holds no state_dict"),
    ],
)
def test_a_file_without_any_of_the_parts(tmp_path: Path, checkpoint: Any, complaint: str) -> None:
    with pytest.raises(ReadError, match=complaint):
        ckpt.check(saved(tmp_path / "gan.pt", checkpoint), PARTS)


def test_define_names_the_parts() -> None:
    structure = ckpt.define(PARTS, {"discriminator": {"classes": 7}})
    assert structure.tensors["discriminator.head.bias"].shape == (7,)
    with pytest.raises(CkptCompatError, match="kwargs: has 'nobody'"):
        ckpt.define(PARTS, {"nobody": {}})
