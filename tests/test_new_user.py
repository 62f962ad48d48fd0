"""What a new user reads when something is missing: each message says what to do next."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import check, define
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._definition.names import brief


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Linear(2, width)


def test_a_constructor_that_lacks_an_argument_is_told_where_to_give_it(tmp_path: Path) -> None:
    torch.save(Net(3).state_dict(), tmp_path / "net.pt")
    with pytest.raises(BuildError, match=r"argument: 'width'; give width in kwargs"):
        check(tmp_path / "net.pt", Net)
    assert check(tmp_path / "net.pt", Net, {"width": 3}).compatible
    with pytest.raises(BuildError, match="take with out of kwargs, and give width"):
        check(tmp_path / "net.pt", Net, {"with": 3})


def test_a_module_of_lightning_that_the_files_hyper_parameters_do_not_build(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="its modules are what is built")

    class Lit(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self, hidden: int) -> None:
            super().__init__()
            self.net = nn.Linear(2, hidden)

    saved = {
        "pytorch-lightning_version": pl.__version__,
        "state_dict": Net(3).state_dict(),
        "hyper_parameters": {"width": 3},
    }
    torch.save(saved, tmp_path / "net.ckpt")
    with pytest.raises(BuildError, match=r"'hidden'; .* or give what it lacks in kwargs"):
        check(tmp_path / "net.ckpt", Lit)
    assert check(tmp_path / "net.ckpt", Lit, {"hidden": 3}).compatible


def test_the_colours_of_a_librarys_message_are_left_out() -> None:
    error = RuntimeError("\x1b[1mdo those steps only if you trust\x1b[0m the file")
    assert brief(error) == "RuntimeError: do those steps only if you trust the file"


@pytest.mark.parametrize(
    ("content", "named", "advice"),
    [
        ("class Net(:", "halfway:Net", "make halfway import where the check runs"),
        ("<<<<<<< HEAD", "halfway:Net", "make halfway import where the check runs"),
        ("raise KeyError('width')", "halfway:Net", "make halfway import where the check runs"),
        ("from collections import Nothing", "halfway:Net", "make halfway import where the check runs"),
        ("import of_no_one.nets", "halfway:Net", "install what gives of_no_one where the check runs, or put"),
        ("", "of_no_one.nets:Net", "check the name, and that the package is installed or"),
        ("", "halfway.nets:Net", "check the name, and that the package is installed or"),
    ],
)
def test_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, named: str, advice: str
) -> None:
    (tmp_path / "halfway.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "halfway", raising=False)
    with pytest.raises(BuildError) as raised:
        define(named)
    assert f"; {advice}" in str(raised.value)
