"""Converting a checkpoint whose file holds a copy of the model, as averaged weights are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pytest_ckpt_compat._check.averaged import copies
from pytest_ckpt_compat._readers import read
from tests.conftest import Printed
from tests.test_migrations_round_trip import Old, folder, register

Command = Callable[..., Printed]

__all__ = ["folder"]


@pytest.mark.parametrize(("name", "prefix"), [("ema", "module."), ("shadow", "")])
def test_a_copy_that_keeps_its_keys_is_named(folder: Path, command: Command, name: str, prefix: str) -> None:
    """The half that is released was left behind, and no line said so."""
    state = Old().state_dict()
    copy = {f"{prefix}{key}": value for key, value in Old().state_dict().items()}
    torch.save({"model": state, name: copy, "version": 1}, "v1.pt")
    printed = command("migrate", "v1", "--style", "rules")
    (folder / "rules.toml").write_text(printed.out)
    register(folder, 'key = "model"\nmigrate = "rules.toml"')
    printed = command("convert", "v1", "-o", "v2.pt")
    assert printed.code == 0, printed.err
    assert (
        f"ckpt-compat: {name} in the file is a copy of the model and keeps its old keys: to convert it, "
        f"too, give "
        f"the new file's path with --key {name} and --rules or --remap"
    ) in printed.err.splitlines()
    assert torch.load("v2.pt")[name].keys() == copy.keys()


def test_what_is_no_copy_is_not_named(folder: Path) -> None:
    others = {
        "optimizer": torch.optim.Adam(Old().parameters()).state_dict(),
        "loss": {"weight": torch.ones(3)},
    }
    torch.save({"model": Old().state_dict(), **others}, folder / "v1.pt")
    assert copies(read(folder / "v1.pt", "model")) == ()
