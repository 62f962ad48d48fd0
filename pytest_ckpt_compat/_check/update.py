"""The snapshot folder as a run works on it: what is in it, what is written and removed, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._snapshots import folder as snapshots


def recorded(folder: Path) -> Iterator[tuple[str, str]]:
    """(shown path, id) of every checkpoint that has a snapshot."""
    for name in snapshots.names(folder):
        if snapshots.is_definition(name):
            continue
        identifier = snapshots.identifier(name)
        try:
            stored = snapshots.load(folder, name)
        except SnapshotError:
            stored = None
        yield (stored.source.path if stored else identifier), identifier


def write(folder: Path, name: str, text: str, full: bool = False) -> list[str]:
    """Writes a snapshot; says so, and how it differs from what was there.

    Raises:
        SnapshotError: the folder cannot be written to.
    """
    from pytest_ckpt_compat._check.snapshots import difference, recorded_diff
    from pytest_ckpt_compat._snapshots.fingerprint import loads

    place = shown(folder, name)
    new = loads(text, place)
    tensors = count(len(new.tensors), "tensor")
    said = [f"recorded  {place}: {tensors}"]
    try:
        old = snapshots.load(folder, name)
        if old is not None:
            said = [f"updated   {place}: {difference(old, new)}", *recorded_diff(old, new, full)]
    except SnapshotError:
        said = [f"replaced  {place}, which could not be read: {tensors}"]
    snapshots.save(folder, name, text)
    return said


def unused(folder: Path, used: Iterable[str]) -> list[str]:
    """Names of the snapshots that are not among those used."""
    known = set(used)
    return [name for name in snapshots.names(folder) if name not in known]


def shown(folder: Path, name: str) -> str:
    """A snapshot's name as reports write it."""
    return f"{folder.name}/{name}"
