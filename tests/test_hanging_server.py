"""A server that hangs is told as that, and not as a file that is missing."""

from __future__ import annotations

from pytest_ckpt_compat._readers.source import remote


def test_a_time_out_is_no_missing_file() -> None:
    assert "cannot be reached (TimeoutError)" in str(remote._not_found(TimeoutError()))
    assert "no such file" in str(remote._not_found(None))
