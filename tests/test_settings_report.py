"""Changes of settings in reports: folded, through renames, and in full (CK502)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.module_pairs import leaves
from pytest_ckpt_compat._core.changes import Severity
from tests.test_settings import MAY, SURE, TRAINING, Model, of, sequence, verdict


class Encoder(nn.Module):
    """Twelve blocks under a name."""

    def __init__(
        self, name: str = "layers", eps: float = 1e-12, act: Model = nn.GELU, rate: float = 0.0
    ) -> None:
        super().__init__()
        blocks = nn.ModuleList()
        for number in range(12):
            block = nn.Module()
            block.norm = nn.LayerNorm(8, eps=eps)
            block.fc = nn.Linear(8, 8)
            block.act = act()
            block.drop = nn.Dropout(rate * number / 11)
            blocks.append(block)
        self.add_module(name, blocks)
        self.head = nn.Linear(8, 2)


def test_the_report_is_folded() -> None:
    found = verdict(Encoder, lambda: Encoder(eps=1e-6, act=nn.ReLU, rate=0.22))
    assert str(found).replace(__name__, "models").splitlines()[0] == (
        "CK502 models.Encoder: loads, layers.{0..11}.norm: eps 1e-12 -> 1e-06 (12 modules), "
        "computes something else; 23 more changes of settings"
    )
    assert [line for line in str(found).splitlines() if line.startswith("  *")] == [
        "  * layers.{0..11}.norm   eps 1e-12 -> 1e-06   12 modules   computes something else",
        "  * layers.{0..11}.act    torch.nn.GELU -> torch.nn.ReLU   12 modules   computes something else",
        "  * layers.{1..11}.drop   p 0.0 -> 0.02 to 0.22   11 modules   computes something else in training",
    ]
    assert found.compatible
    assert {change.severity for change in found.changes} == {Severity.WARNING}


def test_the_report_reads_well() -> None:
    def encoder(eps: float, act: Model, rate: float) -> Model:
        def build() -> nn.Module:
            module = Encoder(eps=eps, act=act)
            module.add_module("head", nn.Sequential())
            module.head.drop = nn.Dropout(rate)
            module.head.fc = nn.Linear(8, 2)
            return module

        return build

    found = verdict(encoder(1e-12, nn.GELU, 0.1), encoder(1e-6, nn.ReLU, 0.3))
    labels = ("encoder-v1", "checkpoints/v1.pt", "models.Encoder (models.py:5)")
    text = str(replace(found, name=labels[0], old_label=labels[1], new_label=labels[2]))
    assert f"{text}\n" == (Path(__file__).parent / "golden" / "settings.txt").read_text(encoding="utf-8")


def test_every_module_has_its_own_row_in_full() -> None:
    from pytest_ckpt_compat._report.text import render

    text = render(verdict(Encoder, lambda: Encoder(rate=0.22)), full=True)
    assert "  * layers.3.drop    p 0.0 -> 0.06   computes something else in training" in text


def test_renamed_modules_are_compared_through_the_renames() -> None:
    found = verdict(Encoder, lambda: Encoder("blocks", eps=1e-6, act=nn.ReLU))
    assert not found.compatible
    assert [line for line in str(found).splitlines() if line[:3] in ("  *", "  ~")] == [
        "  ~ layers.* -> blocks.*                         48 tensors",
        "  * layers.{0..11}.norm -> blocks.{0..11}.norm   eps 1e-12 -> 1e-06   12 modules   "
        "computes something else",
        "  * layers.{0..11}.act -> blocks.{0..11}.act     torch.nn.GELU -> torch.nn.ReLU   12 modules   "
        "computes something else",
    ]


def test_a_hook_that_renames_is_seen_through() -> None:
    class Hooked(Encoder):
        def __init__(self) -> None:
            super().__init__("blocks", eps=1e-6)
            self.register_load_state_dict_pre_hook(self._rename)  # type: ignore[no-untyped-call]

        @staticmethod
        def _rename(_: nn.Module, state_dict: dict[str, Any], *__: Any) -> None:
            for key in list(state_dict):
                if key.startswith("layers."):
                    state_dict[f"blocks.{key.removeprefix('layers.')}"] = state_dict.pop(key)

    from pytest_ckpt_compat._check.check import check_structure
    from pytest_ckpt_compat._core.changes import Policy
    from pytest_ckpt_compat._definition.find import find

    found = check_structure(ckpt.define(Encoder), find(Hooked), Policy())
    assert [c.detail for c in found.changes] == [f"eps 1e-12 -> 1e-06, {SURE}"] * 12
    assert found.changes[0].new == ("blocks.0.norm",)


def test_a_layer_put_into_a_sequence_is_told_and_what_follows_is_not() -> None:
    def wide(width: int) -> Model:
        return lambda: nn.Linear(width, width + 1)

    old = sequence(wide(2), nn.GELU, wide(3), nn.Tanh, wide(4))
    new = sequence(wide(2), nn.Dropout, nn.GELU, wide(3), nn.Tanh, wide(4))
    found = [c for c in verdict(old, new).changes if c.rule == "CK502"]
    assert [(c.new, c.detail) for c in found] == [(("1",), f"torch.nn.Dropout(p=0.5) came, {MAY}{TRAINING}")]


def test_ten_thousand_modules_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of times that all modules are looked through, since a clock proves nothing."""
    looked: list[int] = []

    def counted(structure: ckpt.Structure) -> set[str]:
        looked.append(len(structure.modules))
        return leaves(structure)

    monkeypatch.setattr("pytest_ckpt_compat._check.settings.leaves", counted)
    found = verdict(of(drop=lambda: nn.Dropout(0.1)), of(drop=lambda: nn.Dropout(0.3)))
    assert len(found.changes) == 3
    assert len(looked) == 4


def test_the_outermost_module_has_a_name() -> None:
    found = verdict(lambda: nn.Linear(2, 2), lambda: nn.Linear(2, 2))
    assert found.changes == ()
    text = str(verdict(lambda: nn.BatchNorm1d(4), lambda: nn.BatchNorm1d(4, eps=1.0)))
    assert "the outermost module: eps 1e-05 -> 1.0, computes something else" in text
