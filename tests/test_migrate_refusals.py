"""``ckpt-compat migrate``: what has no code that could be put before its load."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pytest_ckpt_compat import Structure, TensorSpec, define
from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._snapshots import fingerprint

from .conftest import Net, Printed

_GAN = """
[[tool.ckpt_compat.checkpoint]]
path = "gan.pt"
id = "gan"
model = { one = "models:Net", other = "models:Net" }
"""


def test_a_definition_of_several_parts_is_migrated_part_by_part(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    parts = {"one": Net(body="trunk").state_dict(), "other": Net().state_dict()}
    torch.save(parts, project.path / "gan.pt")
    with (project.path / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(_GAN)
    found = command("migrate", "gan")
    assert (found.code, found.out) == (2, "")
    assert "has several parts, and code for a state_dict concerns one" in found.err
    assert "ckpt-compat migrate OLD models:Net --key one" in found.err
    part = command("migrate", "gan.pt", "models:Net", "--key", "one", "--choose", "trunk=body")
    assert "trunk" in part.out
    assert command("migrate", "gan", "--key", "one").code == 2


def test_an_adapter_is_none_of_the_models_own_state_dicts() -> None:
    config = {"adapter_config.json": {"peft_type": "LORA"}}
    adapter = Structure({"base_model.model.x.lora_A.weight": TensorSpec("float32", (1, 2))}, values=config)
    with pytest.raises(UsageError, match="is an adapter, whose keys peft makes of the model's"):
        migration.compared(adapter, find(torch.nn.Linear, {"in_features": 2, "out_features": 2}))


def test_settings_are_told_and_need_no_step(
    project: pytest.Pytester, command: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project.path)
    for name, eps in (("old", 1e-5), ("new", 1e-6)):
        source = f"from torch import nn\n\ndef net():\n    return nn.LayerNorm(4, eps={eps})\n"
        (project.path / f"{name}.py").write_text(source, encoding="utf-8")
    assert command("diff", "old:net", "new:net").code == 0
    (project.path / "net.json").write_text(fingerprint.dumps(define("old:net")), encoding="utf-8")
    found = command("migrate", "net.json", "new:net")
    assert (found.code, found.out) == (0, "")
    assert "it loads as it is: nothing to migrate" in found.err
    assert (
        "no renaming mends this: the model itself: eps 1e-05 -> 1e-06, computes something else" in found.err
    )
