"""Files made to exhaust a reader: below ten seconds each, whatever comes of them.

``benchmarks/hostile_readers.py`` also measures the memory they take.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from pytest_ckpt_compat.errors import ReadError
from pytest_ckpt_compat.readers import read
from tests.readers.hostile import WRITERS


@pytest.mark.parametrize("kind", WRITERS)
def test_time_is_bounded(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path)
    before = set(tmp_path.rglob("*"))
    started = time.perf_counter()
    with contextlib.suppress(ReadError):
        read(path)
    assert time.perf_counter() - started < 10
    assert set(tmp_path.rglob("*")) == before
