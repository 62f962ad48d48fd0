"""Of several state_dicts in a file, a check takes the one that fits the definition, and names the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.errors import ChoiceError, ReadError
from tests.conftest import Net, Printed
from tests.repository import ENTRY, commit, edit, git, make_project


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)


class Renamed(nn.Module):
    """The encoder under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))


class Other(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)


STATISTICS = {"mean": torch.zeros(3), "std": torch.ones(3)}


def state(model: Callable[[], nn.Module] = Encoder, prefix: str = "") -> dict[str, Any]:
    return {prefix + key: value for key, value in model().state_dict().items()}


def saved(path: Path, checkpoint: Any) -> Path:
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize(
    ("checkpoint", "model", "own", "others"),
    [
        ({"encoder": state(), "params": STATISTICS}, Encoder, "encoder", "params"),
        ({"params": STATISTICS, "encoder": state()}, Encoder, "encoder", "params"),
        ({"backbone": {"model": state()}, "head": state(Head)}, Encoder, "backbone.model", "head"),
        ({"backbone": {"model": state()}, "head": state(Head)}, Head, "head", "backbone.model"),
        ({"g": state(), "d": state(Head)}, Head, "d", "g"),
        ({"g": state(), "d": state(Head)}, Encoder, "g", "d"),
        ({"g": state(), "d": state(Head)}, Renamed, "g", "d"),
        ({"g": state(), "d": state(Head), "g_ema": state()}, Encoder, "g_ema", "g (fits as well), d"),
        ({"model": state(), "aside": state()}, Encoder, "model", "aside (fits as well)"),
        ({"model": state(Head), "aside": state()}, Encoder, "aside", "model"),
        ({"model": state(), "ema": state() | {"steps": torch.zeros(1)}}, Encoder, "model", "ema"),
        ({"net": state(prefix="module."), "params": STATISTICS}, Encoder, "net", "params"),
        ({0: state(), 1: state(Head)}, Head, "1", "0"),
        ([state(), state(Head)], Head, "1", "0"),
    ],
)
def test_the_one_that_fits(tmp_path: Path, checkpoint: Any, model: Any, own: str, others: str) -> None:
    verdict = ckpt.check(saved(tmp_path / "run.pt", checkpoint), model)
    assert verdict.old is not None
    assert verdict.old.source.container == own
    assert verdict.notes[-1] == f"checked {own}; the file also holds {others}: key= chooses"
    assert verdict.compatible is (model is not Renamed and "module." not in str(verdict.old.tensors))
    assert f"holds {others}" in str(verdict) or verdict.compatible


def test_where_nothing_fits_names_and_depth_decide(tmp_path: Path) -> None:
    path = saved(tmp_path / "run.pt", {"model": state(Head), "aside": state()})
    verdict = ckpt.check(path, Other)
    assert verdict.old is not None
    assert verdict.old.source.container == "model"
    assert "the file also holds aside" in str(verdict)
    path = saved(tmp_path / "run.pt", {"a": state(Head), "b": state()})
    with pytest.raises(ReadError, match="it holds 2 state_dicts of equal rank"):
        ckpt.check(path, Other)


@pytest.mark.parametrize(
    ("checkpoint", "keys"),
    [
        ({"state_dict": state(), "state_dict_ema": state()}, ("state_dict", "state_dict_ema")),
        ({"net": state(), "net_ema": state()}, ("net", "net_ema")),
        ({"ema_weights": state(), "weights": state()}, ("ema_weights", "weights")),
        ({"a": state(), "b": state(), "model": STATISTICS}, ("a", "b")),
        ({0: state(), 1: state()}, ("0", "1")),
    ],
)
def test_two_that_fit_equally_well_are_the_users_choice(
    tmp_path: Path, checkpoint: Any, keys: tuple[str, str]
) -> None:
    path = saved(tmp_path / "run.pt", checkpoint)
    with pytest.raises(ChoiceError) as caught:
        ckpt.check(path, Encoder)
    assert str(caught.value) == (
        f"{path}: it holds 2 state_dicts that fit tests.test_which_container.Encoder equally well: "
        f"'{keys[0]}' (12 tensors), '{keys[1]}' (12 tensors); "
        f'choose one with key="{keys[0]}" or key="{keys[1]}"'
    )
    for key in keys:
        verdict = ckpt.check(path, Encoder, key=key)
        assert (verdict.compatible, verdict.notes) == (True, ())


def test_a_file_with_one_says_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "run.pt", {"model": state(), "optimizer": {"state": {}, "param_groups": []}})
    assert ckpt.check(path, Encoder).notes == ()


def test_prefix_and_remap_are_applied_first(tmp_path: Path) -> None:
    checkpoint = {"a": state(prefix="x."), "b": state()}
    path = saved(tmp_path / "run.pt", checkpoint)

    def remap(given: dict[str, Any]) -> dict[str, Any]:
        return {key.removeprefix("x."): value for key, value in given.items() if key.startswith("x.")}

    for options in ({"migrate": remap}, {"strip_prefix": "x.", "key": "a"}):
        verdict = ckpt.check(path, Encoder, **options)
        assert verdict.compatible, str(verdict)
        assert verdict.old is not None
        assert verdict.old.source.container == "a"


def test_on_the_command_line(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    saved(project.path / "net.pt", {"params": STATISTICS, "body": Net(classes=9).state_dict()})
    printed = command("diff", "net.pt", "models:Net")
    assert printed.code == 1
    assert printed.out.startswith("CK202 net.pt[body]: head resized")
    assert "checked body; the file also holds params: key= chooses" in printed.out


# -- what a snapshot has recorded stays -----------------------------------------------------------------


SEVERAL = {"body": Net().state_dict(), "other": Net(classes=9).state_dict()}


def test_a_recorded_choice_stays(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    """The definition comes to fit the other state_dict: what was recorded breaks, and is not exchanged."""
    saved(project.path / "net.pt", SEVERAL)
    settings = project.path / "pyproject.toml"
    settings.write_text(settings.read_text() + ENTRY)
    assert command("update").code == 0
    printed = command("check")
    assert printed.code == 0
    assert "checked body; the file also holds other" in printed.out
    edit(project.path / "models.py", "classes=4", "classes=9")
    printed = command("check")
    assert printed.code == 1
    assert "CK202 net-v1: head resized" in printed.out
    assert "CK902" not in printed.out


@pytest.mark.long
def test_the_merge_base_reads_the_same(
    pytester: pytest.Pytester,
    command: Callable[..., Printed],
    earlier_code: None,
) -> None:
    root = make_project(pytester.path)
    saved(root / "net.pt", SEVERAL)
    assert command("update").code == 0
    commit(root)
    git(root, "switch", "-q", "-c", "work")
    edit(root / "models.py", "classes=4", "classes=9")
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "breaks introduced here: 1" in printed.out
