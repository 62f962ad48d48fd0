"""Files made to exhaust a reader: refused in time, whatever comes of them, and nothing is written.

The limits are a tenth of the real ones here; ``benchmarks/hostile_readers.py`` measures time and
memory with the real ones.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import limits, read
from tests.readers.hostile import WRITERS

SCALED = (
    "PICKLE_OPERATIONS", "PICKLE_MEMO", "PICKLE_STACK", "PICKLE_SETS", "KEYS", "VALUES", "ONNX_FIELDS",
    "GGUF_VALUES", "OPTIMIZER_ENTRIES",
)  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_time_is_bounded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SCALED:
        monkeypatch.setattr(limits, name, getattr(limits, name) // 10)
    path = WRITERS[kind](tmp_path)
    before = set(tmp_path.rglob("*"))
    started = time.perf_counter()
    with contextlib.suppress(ReadError):
        read(path)
    assert time.perf_counter() - started < 5
    assert set(tmp_path.rglob("*")) == before
