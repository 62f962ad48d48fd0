"""A corpus of old/new pairs: each folder in ``pairs/`` is a test, its report read as prose.

A folder holds ``old.json`` and ``new.json``, fingerprint files of which ``tensors`` is enough, and
``report.txt``, what ``ckpt-compat diff`` prints. Dropping a folder in adds a test; a missing report
is a failure that prints the text to read and to save.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._report.json import as_data
from pytest_ckpt_compat._report.text import SCREEN, render
from pytest_ckpt_compat._snapshots import fingerprint

FOLDERS = sorted(path for path in (Path(__file__).parent / "pairs").iterdir() if path.is_dir())


def side(folder: Path, name: str) -> ckpt.Structure:
    """One side of a pair."""
    return fingerprint.loads((folder / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_report_reads_as_it_was_approved(folder: Path) -> None:
    verdict = ckpt.diff(side(folder, "old.json"), side(folder, "new.json"))
    text = render(verdict) + "\n"
    approved = folder / "report.txt"
    assert approved.exists(), f"read this, and save it as {approved}:\n{text}"
    assert text == approved.read_text(encoding="utf-8")
    assert text.count("\n") < SCREEN + 15


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["old.json", "new.json"])
def test_a_side_against_itself_gives_nothing(folder: Path, name: str) -> None:
    structure = side(folder, name)
    assert ckpt.diff(structure, structure).changes == ()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_key_is_accounted_for_once(folder: Path) -> None:
    """Old and new keys of missing, unexpected and moved tensors are exactly those that differ."""
    old, new = side(folder, "old.json"), side(folder, "new.json")
    verdict = ckpt.diff(old, new)
    keyed = [change for change in verdict.changes if change.kind not in ("retyped", "retied")]
    old_keys = [key for change in keyed for key in change.old]
    new_keys = [key for change in keyed for key in change.new]
    assert len(old_keys) == len(set(old_keys))
    assert len(new_keys) == len(set(new_keys))
    assert set(old.tensors) - set(new.tensors) <= set(old_keys)
    assert set(new.tensors) - set(old.tensors) <= set(new_keys)
    assert set(old_keys) <= set(old.tensors)
    assert set(new_keys) <= set(new.tensors)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_key_is_in_the_full_report_and_in_the_data(folder: Path) -> None:
    from pytest_ckpt_compat._core.display import visible

    verdict = ckpt.diff(side(folder, "old.json"), side(folder, "new.json"))
    text = render(verdict, full=True)
    data = as_data(verdict)["changes"]
    assert len(data) == len(verdict.changes)
    for change in verdict.changes:
        assert all(visible(key) in text for key in (*change.old, *change.new))
