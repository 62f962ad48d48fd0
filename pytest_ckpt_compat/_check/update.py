"""Writing a snapshot, and describing how it differs from the one it replaces."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ckpt_compat._check import compare
from pytest_ckpt_compat._check.check import diff
from pytest_ckpt_compat._check.proven import with_proven
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._report.text import table
from pytest_ckpt_compat._snapshots import fingerprint, store


@dataclass(frozen=True)
class Over:
    """What outputs say of a definition that an update writes over.

    Attributes:
        proven: old key -> new key of renames that keys leave in doubt.
        told: what else it computes now, a line each.
        broken: id of the checkpoint that still needs these renames, or "".
    """

    proven: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    broken: str = ""


def write(folder: Path, name: str, text: str, full: bool = False, over: Over = Over()) -> list[str]:
    """Writes a snapshot; returns lines that describe the change, none where another process was quicker.

    Args:
        folder: the snapshot folder.
        name: the snapshot's.
        text: the fingerprint.
        full: whether the lines list every key instead of folding.
        over: what outputs say of the definition that is written over.

    Raises:
        SnapshotError: the folder cannot be written to.
    """
    shown = store.shown(folder, name)
    new = fingerprint.loads(text, shown)
    tensors = count(len(new.tensors), "tensor")
    lines = [f"recorded  {shown}: {tensors}"]
    try:
        old = store.load(folder, name)
        if old is not None and fingerprint.same(old, new, optimizers=True) and old.outputs == new.outputs:
            return []
        if old is not None:
            rows = table(with_proven(diff(old, new), over.proven, Policy()), full)
            lines = [f"updated   {shown}: {difference(old, new)}", *rows, *_lost(shown, over)]
    except SnapshotError:
        lines = [f"replaced  {shown}, which could not be read: {tensors}"]
    store.save(folder, name, text)
    return lines


def over_all(found: Iterable[Mapping[str, Over]]) -> dict[str, Over]:
    """What is written over in several checks: a checkpoint that still needs it goes first."""
    pairs = [pair for each in found for pair in each.items()]
    return dict(sorted(pairs, key=lambda pair: bool(pair[1].broken)))


def _lost(shown: str, over: Over) -> Iterator[str]:
    """What is written over that a person may have to know."""
    yield from (f"    it {each}" for each in over.told)
    if over.broken and over.proven:
        yield (
            f"    {over.broken} still needs these renames, and the outputs that prove them are written over: "
            f"get {shown} back from git, and run ckpt-compat migrate {shlex.quote(over.broken)}"
        )


def merged(texts: Iterable[str]) -> str:
    """The text of one snapshot, of which several checks want to write one.

    They give the same definition, run on other inputs or not at all: its outputs are put together.
    """
    first, *others = dict.fromkeys(texts)
    if not others:
        return first
    found = [fingerprint.loads(text, "a snapshot") for text in (first, *others)]
    whole = {name: each for one in found for name, each in one.outputs.items()}
    return fingerprint.dumps(replace(found[0], outputs=whole), whole=False) if whole else others[-1]


def difference(old: Structure, new: Structure) -> str:
    """``keys: 2 added, 1 removed, 3 changed``, or what else differs."""
    split = compare.sides(old.tensors, new.tensors)
    changed = sum(old.tensors[key] != new.tensors[key] for key in split.both)
    numbers = {"added": len(split.new_only), "removed": len(split.old_only), "changed": changed}
    parts = [f"{number:,} {word}" for word, number in numbers.items() if number]
    if parts:
        return "keys: " + ", ".join(parts)
    if list(old.tensors) != list(new.tensors):
        return "order of keys"
    if fingerprint.digest(old) != fingerprint.digest(new):
        return "tied weights or module versions"
    if list(old.modules.items()) != list(new.modules.items()):
        return "the classes of modules"
    if old.settings != new.settings:
        return "the settings of modules"
    if old.migrated != new.migrated:
        return "the migration that makes it load"
    same = fingerprint.same(old, new)
    if same and old.outputs != new.outputs:
        return "the outputs"
    return "the state of the optimizer" if same else "the classes that the file names"
