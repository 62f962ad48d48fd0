"""Files made to exhaust a reader: refused after little work, whatever comes of them, and nothing is written.

The limits are a hundredth of the real ones here, and work is counted in calls;
``benchmarks/hostile_readers.py`` measures time and memory with the real ones.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ckpt_compat._cli import main as cli
from pytest_ckpt_compat._core.errors import ReadError, SnapshotError
from pytest_ckpt_compat._readers import limits, read
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.source.strict_json import parse_object
from pytest_ckpt_compat._readers.state_dict.optimizers import optimizer_states
from pytest_ckpt_compat._snapshots import fingerprint
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


def test_a_file_of_a_terabyte_that_begins_as_json_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("m.json", "m.index.json"):
        with (tmp_path / name).open("wb") as stream:
            stream.write(b'{"tensors": {')
            stream.truncate(1 << 40)
        with calls() as counted:
            assert cli.main(["show", str(tmp_path / name)]) == 2
        assert "more than" in capsys.readouterr().err
        assert counted() < 50_000


def test_a_name_that_occurs_twice_among_many_is_found_in_one_pass() -> None:
    names = ",".join(f'"w{number}": "float32[]"' for number in range(300_000))
    text = f'{{"tensors": {{{names}, "w299999": "float32[]"}}}}'
    before = time.process_time()
    with pytest.raises(SnapshotError, match="'w299999' is in it twice"):
        fingerprint.loads(text, "m.json")
    with pytest.raises(RefusalError, match="a duplicate name"):
        parse_object(text.encode(), "it")
    assert time.process_time() - before < 20  # comparing each name with all others takes minutes


class Untouched(list[int]):
    """A list whose length may be asked for, and nothing else."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("looked at, although it is too long")


def test_groups_that_are_too_long_together_are_not_looked_at() -> None:
    group = {"params": Untouched(range(1_000))}
    many = [group] * (limits.OPTIMIZER_ENTRIES // 1_000)
    with pytest.raises(RefusalError, match="entries in its optimizer states"):
        optimizer_states({"optimizer": {"state": {0: {}}, "param_groups": many}})
