"""Where one side alone is quantized: what is said, and which side is to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core import storages
from pytest_ckpt_compat._report.text import headline
from tests.test_quantized import Static, dynamic, plain, static

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, about kinds that it deprecates

HERE = "load it into the float model, and quantize that after the load"
IN_FILE = "load it with the quantization it was saved with"
QUANTIZED: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "dynamic": (plain, dynamic),
    "static": (Static, static),
}


def checked(tmp_path: Path, saved: Any, model: Callable[[], Any]) -> ckpt.Verdict:
    torch.save(saved.state_dict(), tmp_path / "net.pt")
    return ckpt.check(tmp_path / "net.pt", model)


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("into", [HERE, IN_FILE], ids=["float into quantized", "quantized into float"])
def test_the_side_that_is_not_as_the_file_is_told_to_change(tmp_path: Path, name: str, into: str) -> None:
    real, quantized = QUANTIZED[name]
    saved, model = (real, quantized) if into == HERE else (quantized, real)
    verdict = checked(tmp_path, saved(), model)
    layers = [each for each in verdict.changes if not any("norm" in k for k in (*each.old, *each.new))]
    advised = [each for each in layers if each.kind in ("missing", "unexpected", "load-raises")]
    assert {each.kind for each in advised} >= {"missing", "unexpected"}
    assert [each.advice for each in advised if not each.advice.startswith(into)] == []


def test_what_is_quantized_on_both_sides_is_told_as_before(tmp_path: Path) -> None:
    smaller = torch.nn.Sequential(*list(dynamic())[:1])
    verdict = checked(tmp_path, smaller, dynamic)
    assert {each.kind for each in verdict.changes} >= {"missing"}
    assert not any(each.advice.startswith((HERE, IN_FILE)) for each in verdict.changes)


def test_a_list_of_all_backends_is_not_in_a_headline(tmp_path: Path) -> None:
    line = headline(checked(tmp_path, Static(), static))
    assert "Could not run 'quantized::" in line
    assert "AutogradXLA" not in line
    assert len(line) < 400


ENDS = (
    *("absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4"),
    *("SCB", "weight_format", "qweight", "qzeros", "g_idx", "_packed_params", "_all_weight_values"),
    *("_packed_params._packed_params", "_packed_params.dtype"),
)


@pytest.mark.parametrize("end", [*ENDS, "weight", "SCBs", "absmax.0", "bitsandbytes__nf4", "my_qweight"])
@pytest.mark.parametrize("before", ["", "fc.", "layers.0.fc.weight.", "two\nlines."])
def test_what_keys_show_together_is_what_each_shows(end: str, before: str) -> None:
    keys = ("a.weight", before + end, "z.bias")
    shown = {key: words for key in keys if (words := storages.quantized(key))}
    assert storages.quantized_among(keys) == shown
    assert bool(shown) == (end in ENDS and (bool(before) or "_packed_params" in end or "_all_w" in end))
