"""What is likely, in few words: a choice of a module, arguments that the file has, what code leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import check
from pytest_ckpt_compat._cli.migrate import _left_out
from pytest_ckpt_compat._migrate.generate import doubtful_rules
from pytest_ckpt_compat._migrate.steps import MOVE, Plan, Step


def step(old: str, new: str, confidence: str = "likely") -> Step:
    return Step(MOVE, (old,), (new,), confidence, ("alike",))  # type: ignore[arg-type]


def hints(*steps: Step) -> set[str]:
    plan = Plan((), steps, ())
    return {
        hint for each in doubtful_rules(plan, [key for s in steps for key in s.old]) for hint in each.hints
    }


CONVOLUTIONS = tuple(
    step(f"down1.{name}.weight", f"enc1.{name}.weight") for name in ("conv1", "bn1", "conv2", "bn2")
)


def test_one_choice_of_a_module_stands_for_those_in_it() -> None:
    """It was one option for each of the four."""
    assert hints(*CONVOLUTIONS) == {"down1=enc1"}


def test_it_does_not_where_it_would_choose_something_else_besides() -> None:
    other = step("down1.bn3.weight", "enc1.bn4.weight", "ambiguous")
    assert "down1=enc1" not in hints(*CONVOLUTIONS, other)


def test_numbers_in_it_stand_as_they_did() -> None:
    steps = [step(f"a.{n}.{name}.weight", f"b.{n}.{name}.weight") for n in (0, 1) for name in ("x", "y")]
    (hint,) = hints(*steps)
    assert hint in ("a=b", "a.*=b.*")


class Sized(nn.Module):
    """A model whose sizes its constructor takes."""

    def __init__(self, dim: int = 8, depth: int = 2, width: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(3, dim)
        self.blocks = nn.ModuleList(nn.Linear(dim, dim * width) for _ in range(depth))


def saved(folder: Path, **beside: object) -> Path:
    state = Sized(12, 5, 4).state_dict()
    torch.save({"model": state, **beside}, folder / "run.pt")
    return folder / "run.pt"


@pytest.mark.parametrize("place", ["config", "args.model"])
def test_arguments_that_the_file_has_are_named_where_it_loads_with_them(tmp_path: Path, place: str) -> None:
    values: object = {"dim": 12, "depth": 5, "width": 4, "lr": 0.1}
    for name in reversed(place.split(".")):
        values = {name: values}
    assert isinstance(values, dict)
    report = str(check(saved(tmp_path, **values), Sized, key="model"))
    told = f"it loads with dim=12 and depth=5 and width=4, which the file has in {place}: build the model so"
    assert told in report


def test_they_are_not_where_it_does_not_load_with_them(tmp_path: Path) -> None:
    report = str(check(saved(tmp_path, config={"dim": 12, "depth": 4, "width": 4}), Sized, key="model"))
    assert "which the file has in" not in report


def test_what_code_leaves_out_is_said_beside_what_is_proven() -> None:
    """24 of 24 steps were "proven, loaded by the definition", of code that does not load the checkpoint."""
    assert _left_out(0, 0) == ""
    assert _left_out(3, 1) == "; left open: 3 likely, 1 to decide"
