"""Whoever waits longer than a second is told what for."""

from __future__ import annotations

import time

import pytest

from pytest_ckpt_compat._cli import progress
from pytest_ckpt_compat._cli.progress import reported_if_slow


def test_slow_work_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    with reported_if_slow("s3://bucket/a\x1b.pt"):
        deadline = time.monotonic() + 10
        said = ""
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
            said = capsys.readouterr().err
    assert said == "ckpt-compat: reading s3://bucket/a\\x1b.pt ...\n"


def test_quick_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with reported_if_slow("net.pt"):
        pass
    assert capsys.readouterr().err == ""
