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


# -- recurrent layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [False, True])
def test_a_recurrent_layer_has_the_numbers_of_a_cell(tmp_path: Path, back: bool) -> None:
    sides: tuple[nn.Module, nn.Module] = Layers(rnn=nn.LSTM(6, 6)), Layers(rnn=nn.LSTMCell(6, 6))
    old, new = reversed(sides) if back else sides
    verdict = checked(tmp_path, old.state_dict(), lambda: new)
    assert {each.kind for each in verdict.changes} == {"renamed"}
    assert all(each.old[0].removesuffix("_l0") == each.new[0].removesuffix("_l0") for each in verdict.changes)


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
    assert command("update").code == 1  # it does not load yet
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


# -- another class ---------------------------------------------------------------------------------


@pytest.fixture
def recorded(pytester: pytest.Pytester, command: Command) -> Callable[[str, str], str]:
    """Checks a file of one definition, as recorded, into another one."""

    def check(before: str, after: str) -> str:
        models = "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        models += "        super().__init__()\n        self.a = nn.Linear(2, 2)\n        self.up = {}\n"
        path = pytester.path / "models.py"
        path.write_text(models.format(before))
        entry = '[[tool.ckpt_compat.checkpoint]]\nid = "run"\npath = "run.pt"\nmodel = "models:Net"\n'
        (pytester.path / "pyproject.toml").write_text(entry)
        layer = eval(before, {"nn": nn})
        torch.save(Layers(a=nn.Linear(2, 2), up=layer).state_dict(), pytester.path / "run.pt")
        assert command("update").code == 0
        path.write_text(models.format(after))
        return command("check").out

    return check


def test_another_convolution_is_no_permutation(recorded: Callable[[str, str], str]) -> None:
    text = recorded("nn.ConvTranspose2d(8, 16, 3)", "nn.Conv2d(8, 16, 3)")
    assert "a ConvTranspose2d in the file, a Conv2d here" in text
    assert "CK201: put a ConvTranspose2d back: a Conv2d computes something else with its weights" in text
    assert "fix:" not in text


@pytest.mark.parametrize(("stride", "rule"), [(1, "CK204"), (2, "CK201")])
def test_a_pointwise_convolution_is_the_other_permuted(
    recorded: Callable[[str, str], str], stride: int, rule: str
) -> None:
    given = f"(8, 16, 1, stride={stride})"
    assert recorded(f"nn.ConvTranspose2d{given}", f"nn.Conv2d{given}").splitlines()[2].startswith(rule)


def test_a_projected_lstm_is_known_by_its_class(recorded: Callable[[str, str], str]) -> None:
    """Its shapes are not those of the gates."""
    text = recorded("nn.LSTM(8, 16, proj_size=5)", "nn.GRU(8, 16)")
    assert "an LSTM in the file, a GRU here" in text
    assert "CK201: put an LSTM back: no size makes one of the other" in text


def test_a_cell_is_known_by_its_gates(tmp_path: Path) -> None:
    text = text_of(tmp_path, Layers(c=nn.LSTMCell(8, 16)), lambda: Layers(c=nn.RNNCell(8, 16)))
    assert "an LSTM in the file, an RNN here" in text


# -- another shape that is no size -----------------------------------------------------------------


class Both(nn.Module):
    def __init__(self, bi: bool = True) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 16, bidirectional=bi)
        self.fc = nn.Linear(32 if bi else 16, 2)


@pytest.mark.parametrize(("was", "now"), [(False, "bidirectional here, in the file not"), (True, "")])
def test_one_direction_more_gets_no_default(tmp_path: Path, was: bool, now: str) -> None:
    def other() -> nn.Module:
        return Both(not was)

    text = text_of(tmp_path, Both(was), other)
    assert (now or "bidirectional in the file, here not") in text
    assert f"build it with bidirectional={was}, as the file has it" in text
    assert "give it a default" not in text
    assert "put the layer back" not in text


def test_a_switch_of_directions_is_tried_whatever_keys_call_them(tmp_path: Path) -> None:
    text = text_of(tmp_path, Both(False), Both)
    assert "it loads with bi=False: build the model so, and give this in kwargs" in text


class Grouped(nn.Module):
    def __init__(self, groups: int = 1, inputs: int = 8) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, 24, 3, groups=groups)
        self.head = nn.Linear(24, 2)


def test_groups_are_no_size_to_restore(tmp_path: Path) -> None:
    text = text_of(tmp_path, Grouped(8), Grouped)
    assert "groups 8 -> 1, or 1 input channels -> 8" in text
    assert "it loads with groups=8" in text


def test_channels_of_images_are_no_groups(tmp_path: Path) -> None:
    assert "groups" not in text_of(tmp_path, Grouped(inputs=1), lambda: Grouped(inputs=3))


@pytest.mark.parametrize("back", [False, True])
def test_a_layer_over_what_was_flattened_is_reshaped_by_its_person(tmp_path: Path, back: bool) -> None:
    """The shapes do not say whether the channels came first."""
    old, new = Layers(fc=nn.Linear(8 * 49, 10)), Layers(fc=nn.Conv2d(8, 10, 7))
    if back:
        old, new = new, old
    verdict = checked(tmp_path, old.state_dict(), lambda: new)
    assert [each.kind for each in verdict.changes] == ["transposed"]
    shape = "10, 392" if back else "10, 8, 7, 7"
    told = f"reshape it while loading (migrate=): reshape({shape}), if its inputs were flattened with the"
    assert told in str(verdict)


def test_arguments_that_give_the_sizes_alone_are_named(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self, hidden: int = 16, dropout: float = 0.0) -> None:
            super().__init__()
            self.a = nn.Linear(4, hidden)
            self.n = nn.LayerNorm(hidden) if dropout else nn.Identity()
            self.b = nn.Linear(hidden, 2)

    text = text_of(tmp_path, Net(12, 0.1), Net)
    assert (
        "CK201: with hidden=12, the sizes are the file's: build the model so, and give this in kwargs" in text
    )
    assert "it loads with" not in text


@pytest.mark.parametrize("directions", [1, 2])
def test_all_that_takes_in_a_second_direction_is_told_with_it(tmp_path: Path, directions: int) -> None:
    """No tensor of the layer is another one of it, and no size is to be restored by itself."""

    def model(directions: int) -> nn.Module:
        layer: nn.Module = nn.GRU(8, 16, num_layers=2, bidirectional=directions == 2)
        return nn.ModuleDict({"rnn": layer, "mix": nn.Linear(9, 7), "head": nn.Linear(16 * directions, 2)})

    torch.save(model(3 - directions).state_dict(), tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", lambda: model(directions))
    assert {each.kind for each in verdict.changes} == {
        "resized",
        "missing" if directions == 2 else "unexpected",
    }
    advice = f"build it with bidirectional={directions == 1}, as the file has it"
    assert all(each.advice.startswith(advice) for each in verdict.changes)
    assert len({(each.old, each.new) for each in verdict.changes}) == len(verdict.changes) == 10


def test_an_argument_that_mends_all_is_told_once(tmp_path: Path) -> None:
    """What else would help with one kind of change, such as a default, leaves the other kinds broken."""

    class Net(nn.Module):
        def __init__(self, depth: int = 3) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2**i, 2 ** (i + 1)) for i in range(1, depth + 1))
            self.norm = nn.BatchNorm1d(2 ** (depth + 1))

    text = text_of(tmp_path, Net(2), Net)
    assert text.endswith(
        "\n  CK201, CK101: it loads with depth=2: build the model so, and give this in kwargs"
    )
    assert text.count("it loads with") == 1
