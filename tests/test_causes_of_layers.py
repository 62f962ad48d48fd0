"""Layers that were of another class or form: what their tensors became, and what no tensor shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.breaks import may_be_migrated
from tests.conftest import Printed
from tests.test_causes_of_values import Layers, checked, linear

Command = Callable[..., Printed]


def text_of(folder: Path, old: nn.Module | dict[str, Any], new: Callable[[], nn.Module]) -> str:
    return str(checked(folder, old if isinstance(old, dict) else old.state_dict(), new))


# -- a bare matrix ---------------------------------------------------------------------------------


def bare(name: str, rows: int, columns: int) -> nn.Module:
    made = Layers(norm=nn.LayerNorm(8))
    made.register_parameter(name, nn.Parameter(torch.zeros(rows, columns)))
    return made


def in_a_layer() -> nn.Module:
    return Layers(norm=nn.LayerNorm(8), text_projection=linear(8, 8))


@pytest.mark.parametrize("back", [False, True])
def test_a_bare_square_matrix_and_a_layers_weight_are_never_certainly_one(tmp_path: Path, back: bool) -> None:
    """A product x @ matrix and Linear differ by a transposition: CLIP's projection loaded wrongly, proven."""
    sides: tuple[nn.Module, nn.Module] = (bare("text_projection", 8, 8), in_a_layer())
    old, new = reversed(sides) if back else sides
    verdict = checked(tmp_path, old.state_dict(), lambda: new)
    (change,) = verdict.changes
    assert (change.kind, change.confidence) == ("renamed", "likely")
    assert "square, so that it may be transposed" in str(verdict)
    assert "CK103: rename it while loading (migrate=), and transpose it if forward took it" in str(verdict)


def test_a_matrix_named_as_a_layers_is_no_bare_one(tmp_path: Path) -> None:
    """What is called a weight is used as one."""
    verdict = checked(tmp_path, bare("text_projection_weight", 8, 8).state_dict(), in_a_layer)
    assert [(each.kind, each.confidence) for each in verdict.changes] == [("renamed", "certain")]


# -- attention -------------------------------------------------------------------------------------


def one_by_one(size: int) -> dict[str, Any]:
    """The state of an attention of torch's that keeps its weights one by one."""
    state = Layers(a=nn.MultiheadAttention(8, 2, kdim=9, vdim=9)).state_dict()
    return {
        key: v[:, :size] if key.endswith(("k_proj_weight", "v_proj_weight")) else v
        for key, v in state.items()
    }


def attention(**sizes: int) -> nn.Module:
    return Layers(a=nn.MultiheadAttention(8, 2, **sizes))


def test_the_two_forms_of_an_attention_are_one(tmp_path: Path) -> None:
    """What is None in the form of the definition was given a default, and the trained weights dropped."""
    verdict = checked(tmp_path, one_by_one(8), attention)
    (change,) = verdict.changes
    assert change.old == ("a.q_proj_weight", "a.k_proj_weight", "a.v_proj_weight")
    assert (change.kind, change.new, change.confidence) == ("fused", ("a.in_proj_weight",), "certain")
    assert may_be_migrated(verdict)


def test_the_joint_form_is_taken_apart_in_torchs_order(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("v", "k", "q"):
                self.register_parameter(f"{name}_proj_weight", nn.Parameter(torch.zeros(8, 8)))
            self.in_proj_bias = nn.Parameter(torch.zeros(24))
            self.out_proj = nn.Linear(8, 8)

    (change,) = checked(tmp_path, attention().state_dict(), lambda: Layers(a=Own())).changes
    assert (change.kind, change.new) == ("split", ("a.q_proj_weight", "a.k_proj_weight", "a.v_proj_weight"))


def test_attentions_of_other_sizes_are_told_apart(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self, inner: int = 6) -> None:
            super().__init__()
            self.a = nn.MultiheadAttention(8, 2, kdim=inner, vdim=inner)

    text = text_of(tmp_path, attention(), Net)
    assert "an attention with kdim=8 and vdim=8 in the file, with kdim=6 and vdim=6 here" in text
    assert "it loads with inner=8: build the model so" in text
    back = text_of(tmp_path, Net(), attention)
    assert "CK101, CK102: build it with kdim=6 and vdim=6: its numbers fit no other one" in back
    assert "give it a default" not in back


# -- a prefix and another cause --------------------------------------------------------------------


def test_a_prefix_beside_another_cause_is_taken_off_by_one_way(
    pytester: pytest.Pytester, command: Command
) -> None:
    """Two ways were told, and who went both ended at rules that find none of their keys."""
    (pytester.path / "models.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.up = nn.Conv1d(4, 4, 3)\n"
    )
    (pytester.path / "pyproject.toml").write_text(
        '[[tool.ckpt_compat.checkpoint]]\nid = "run"\npath = "run.pt"\nmodel = "models:Net"\n'
    )
    shapes = {"bias": (4,), "weight_g": (4, 1, 1), "weight_v": (4, 4, 3)}
    state = {f"generator.up.{name}": torch.ones(shape) for name, shape in shapes.items()}
    torch.save(state, pytester.path / "run.pt")
    assert command("update").code == 0
    printed = command("check").out
    assert [line.strip() for line in printed.splitlines() if line.strip().startswith(("fix:", "then:"))] == [
        "fix:    ckpt-compat migrate run"
    ]
    (pytester.path / "rules.toml").write_text(command("migrate", "run", "--style", "rules").out)
    with (pytester.path / "pyproject.toml").open("a") as file:
        file.write('migrate = "rules.toml"\n')
    assert command("check").code == 0


def test_a_prefix_alone_keeps_its_own_repair(tmp_path: Path) -> None:
    old = Layers(model=Layers(body=nn.Linear(3, 3), head=nn.Linear(3, 2)))
    verdict = checked(tmp_path, old.state_dict(), lambda: Layers(body=nn.Linear(3, 3), head=nn.Linear(3, 2)))
    assert [label for label, _ in verdict.repairs] == ["fix", "then"]
    assert isinstance(verdict, ckpt.Verdict)
