"""The path of a checkpoint is read from the first lines of its snapshot, as the whole of it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ckpt_compat._core.structure import Source, Structure, TensorSpec
from pytest_ckpt_compat._snapshots import fingerprint, store


@pytest.mark.parametrize("path", ["a.pt", 'a "b".pt', 'x,\n  "tensors": {', "é\udcff", "a}b{", ""])
@pytest.mark.parametrize("container", ["", 'model,\n  "tensors": {'])
def test_it_is_the_path_that_was_written(path: str, container: str) -> None:
    structure = Structure({"w": TensorSpec("float32", (2,))}, source=Source(path, container=container))
    text = fingerprint.dumps(structure)
    assert fingerprint.path_in(text) == path
    assert fingerprint.loads(text, "").source.path == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"tensors": {}}',
        '{\n  "source": {"path": "a.pt"},\n  "tensors": {',
        '{\n  "format": "ckpt-compat fingerprint",\n  "source": {"path": 3},\n  "tensors": {',
        '{\n  "format": "ckpt-compat fingerprint",\n  "source": [],\n  "tensors": {',
        "[" * 100_000 + ',\n  "tensors": {',
    ],
)
def test_another_text_has_none(text: str) -> None:
    assert fingerprint.path_in(text) == ""


def test_a_snapshot_that_others_wrote_is_read_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "theirs.json").write_text('{"tensors": {"w": "float32[2]"}, "source": {"path": "w.pt"}}')
    (tmp_path / "broken.json").write_text("{")
    assert dict(store.recorded(tmp_path)) == {"broken": "broken", "w.pt": "theirs"}
