"""A build on meta costs no more than it must, and gives the shapes that a real build gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from pytest_ckpt_compat import check, define

_CHECK = """
import sys, torch
from pytest_ckpt_compat import check
from tests.test_intercept import Filled
assert check(sys.argv[1], Filled).compatible
assert "torch._dynamo" not in sys.modules
"""


class Filled(nn.Module):
    """Fills parameters in the ways of ``torch.nn.init``, and in those of constructors at large."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8, padding_idx=0)
        self.norm = nn.BatchNorm1d(8)
        self.lstm = nn.LSTM(8, 4)
        self.attention = nn.MultiheadAttention(8, 2)
        for fill in (nn.init.xavier_normal_, nn.init.kaiming_normal_, nn.init.trunc_normal_):
            fill(self.embedding.weight)
        self.scale = nn.Parameter(torch.empty(4, 8))
        self.scale.data.exponential_().clamp_(max=1).sqrt_().mul_(2)
        with torch.no_grad():
            self.scale[0].normal_()


class Reshaped(nn.Module):
    """Changes shapes in place, which on meta has to happen as well."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = nn.Parameter(torch.empty(2, 3), requires_grad=False)
        self.turned.t_()
        self.longer = nn.Parameter(torch.empty(2, 3), requires_grad=False)
        self.longer.unsqueeze_(0).normal_()
        self.resized = nn.Parameter(torch.empty(2, 3), requires_grad=False)
        self.resized.resize_(5, 2)


def test_fills_import_no_compiler(tmp_path: Path) -> None:
    path = tmp_path / "filled.pt"
    torch.save(Filled().state_dict(), path)
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", _CHECK, str(path)], check=True, cwd=root, timeout=120)


def test_shapes_changed_in_place(tmp_path: Path) -> None:
    path = tmp_path / "reshaped.pt"
    torch.save(Reshaped().state_dict(), path)
    assert [spec.shape for spec in define(Reshaped).tensors.values()] == [(3, 2), (1, 2, 3), (5, 2)]
    assert check(path, Reshaped).compatible


class InitialisedByHook(nn.Module):
    """Fills in, with ``nn.init``, what an older checkpoint lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self._register_load_state_dict_pre_hook(self._fill)  # type: ignore[no-untyped-call]

    @staticmethod
    def _fill(state: dict[str, torch.Tensor], *_: object) -> None:
        state.setdefault("linear.bias", nn.init.normal_(torch.empty(4)))


class LoadedInPlace(nn.Module):
    """Writes what it loads by an operator other than ``copy_``."""

    def __init__(self) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.zeros(4))
        self.out = nn.Parameter(torch.zeros(4))

    def _load_from_state_dict(self, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
        self.added.data += state[prefix + "added"]
        torch.mul(state[prefix + "out"], 2, out=self.out.data)


def test_hook_that_initialises(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"linear.weight": torch.zeros(4, 3)}, path)
    verdict = check(path, InitialisedByHook)
    assert not verdict.changes, verdict


def test_every_way_of_writing_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "written.pt"
    torch.save(LoadedInPlace().state_dict(), path)
    verdict = check(path, LoadedInPlace)
    assert not verdict.changes, verdict
