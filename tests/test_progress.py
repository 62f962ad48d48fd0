"""Whoever waits longer than a second sees what for."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from pytest_ckpt_compat._cli import progress
from pytest_ckpt_compat._cli.progress import reported_if_slow


class Listener(io.StringIO):
    """A stream that lets a thread wait until a line has come."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def flush(self) -> None:
        if self.getvalue().endswith("\n"):
            self.heard.set()


def test_slow_work_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    listener = Listener()
    monkeypatch.setattr(sys, "stderr", listener)
    with reported_if_slow("s3://bucket/a\x1b.pt"):
        listener.heard.wait(60)
    assert listener.getvalue() == "ckpt-compat: reading s3://bucket/a\\x1b.pt ...\n"


def test_quick_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with reported_if_slow("net.pt"):
        pass
    assert capsys.readouterr().err == ""
