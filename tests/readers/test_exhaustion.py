"""Files made to exhaust a reader: refused after little work, whatever comes of them, and nothing is written.

The limits are a hundredth of the real ones here, and work is counted in calls;
``benchmarks/hostile_readers.py`` measures time and memory with the real ones.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import limits, read
from tests.counting import calls
from tests.readers.hostile import WRITERS

SCALED = (
    "PICKLE_OPERATIONS", "PICKLE_MEMO", "PICKLE_STACK", "PICKLE_SETS", "KEYS", "VALUES", "ONNX_FIELDS",
    "GGUF_VALUES", "OPTIMIZER_ENTRIES",
)  # fmt: skip
#: Calls of functions, Python's own included; with limits ten times as high, a third of the files need more.
CALLS = 500_000


@pytest.mark.parametrize("kind", WRITERS)
def test_work_is_bounded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SCALED:
        monkeypatch.setattr(limits, name, getattr(limits, name) // 100)
    path = WRITERS[kind](tmp_path)
    before = set(tmp_path.rglob("*"))
    with contextlib.suppress(ReadError), calls() as counted:
        read(path)
    assert counted() < CALLS
    assert set(tmp_path.rglob("*")) == before
