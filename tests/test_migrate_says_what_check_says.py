"""``ckpt-compat migrate`` contradicts no check: it drops nothing, and loads nothing, that one warns of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import Printed
from tests.migrations import unwrapped

Command = Callable[..., Printed]

_MODEL = """
from torch import nn

def net():
    return {}
"""


def migrated(command: Command, folder: Path, state: dict[str, Any], model: str) -> Printed:
    torch.save(state, folder / "net.pt")
    (folder / "models.py").write_text(_MODEL.format(model), encoding="utf-8")
    assert command("diff", "net.pt", "models:net").code == 1
    found = command("migrate", "net.pt", "models:net")
    assert (found.code, "it loads as it is" in found.err) == (1, False), found
    return replace(found, out=unwrapped(found.out))


def test_an_adapter_in_a_checkpoint_is_not_called_loadable(
    pytester: pytest.Pytester, command: Command
) -> None:
    base = "base_model.model."
    state = {f"{base}{key}": value for key, value in nn.Sequential(nn.Linear(4, 4)).state_dict().items()}
    layer = {f"{base}0.base_layer.{key.rpartition('.')[2]}": value for key, value in state.items()}
    factors = {
        f"{base}0.lora_{name}.default.weight": torch.zeros(shape)
        for name, shape in (("A", (2, 4)), ("B", (4, 2)))
    }
    found = migrated(command, pytester.path, layer | factors, "nn.Sequential(nn.Linear(4, 4))")
    assert found.out.splitlines()[1:] == [
        "# decide: an adapter that is not merged (4 tensors): "
        "load it with peft, or merge it: save the state_dict of model.merge_and_unload()"
    ]


def test_quantized_numbers_that_load_are_not_called_loadable(
    pytester: pytest.Pytester, command: Command
) -> None:
    state = {"weight": torch.zeros(3, 4, dtype=torch.int8), "bias": torch.zeros(3)}
    found = migrated(command, pytester.path, state, "nn.Linear(4, 3)")
    assert "# decide: weight: int8[3, 4] -> float32[3, 4], takes quantized numbers as they are: " in found.out
    assert "--choose" not in found.out


@pytest.mark.parametrize(
    ("norm", "why"),
    [
        ("nn.GroupNorm(2, 8)", "of a layer that is a GroupNorm now: put the old layer back"),
        (
            "nn.BatchNorm2d(8, affine=False)",
            "is None here: built without affine: build the layer with affine",
        ),
    ],
)
def test_what_a_check_says_not_to_drop_is_not_dropped(
    pytester: pytest.Pytester, command: Command, norm: str, why: str
) -> None:
    state = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict()
    found = migrated(command, pytester.path, state, f"nn.Sequential(nn.Conv2d(3, 8, 3), {norm})")
    assert f": {why}" in found.out
    assert "proven" not in found.err


def test_a_counter_is_dropped_by_code(pytester: pytest.Pytester, command: Command) -> None:
    state = nn.Sequential(nn.Linear(4, 4)).state_dict() | {"n_averaged": torch.tensor(3)}
    torch.save({f"module.{key}" if key[0] == "0" else key: value for key, value in state.items()}, "net.pt")
    (pytester.path / "models.py").write_text(_MODEL.format("nn.Sequential(nn.Linear(4, 4))"))
    assert command("migrate", "net.pt", "models:net").code == 0


def test_one_line_tells_why_many_tensors_are_not_dropped(pytester: pytest.Pytester, command: Command) -> None:
    state = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict()
    found = migrated(command, pytester.path, state, "nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))")
    assert found.out.count("put the old layer back") == 1
    assert "# decide: 1.running_mean, 1.running_var, 1.num_batches_tracked (3 tensors): " in found.out


def test_what_is_missing_for_a_known_cause_is_given_no_other_advice(
    pytester: pytest.Pytester, command: Command
) -> None:
    state = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)).state_dict()
    found = migrated(command, pytester.path, state, "nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))")
    told = "# decide: 1.running_mean, 1.running_var (2 tensors): the checkpoint's layer has no statistics"
    assert told in unwrapped(found.out)
    assert "give it the model's own value" not in found.out


_RESUMED = """
[[tool.ckpt_compat.checkpoint]]
id = "run"
path = "net.pt"
model = "models:net"
level = "resume"
optimizer = "torch.optim:Adam"
"""


def test_of_a_run_that_is_to_resume_only_the_model_is_spoken_of(
    pytester: pytest.Pytester, command: Command
) -> None:
    net = nn.Linear(4, 3)
    torch.save(
        {"model": net.state_dict(), "optimizer": torch.optim.SGD(net.parameters()).state_dict()}, "net.pt"
    )
    (pytester.path / "models.py").write_text(_MODEL.format("nn.Linear(4, 3)"), encoding="utf-8")
    (pytester.path / "pyproject.toml").write_text(_RESUMED, encoding="utf-8")
    found = command("migrate", "run")
    assert "it loads as it is: nothing to migrate" in found.err
    assert "only the model's tensors were looked at" in found.err
