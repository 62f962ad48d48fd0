"""Adds to a checkpoint the states of its optimizers that lie in files of their own."""

from __future__ import annotations

import os
from dataclasses import replace

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._core import parts
from pytest_ckpt_compat._core.addresses import is_url, redacted
from pytest_ckpt_compat._core.errors import UnreachableError
from pytest_ckpt_compat._core.structure import OptimizerState, Structure
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import fingerprint


def with_optimizers(
    structure: Structure, registration: Registration, definition: Definition, stored: Structure | None
) -> tuple[Structure, tuple[str, ...]]:
    """The checkpoint with the states in the files of ``optimizer_path``, and no others; and a note.

    Where such a file is absent, they are those of the checkpoint's snapshot; none where that has none.

    Args:
        structure: the checkpoint.
        registration: names the files.
        definition: what the checkpoint is loaded into.
        stored: the checkpoint's snapshot, if there is one that can be used.

    Raises:
        ReadError: a file is there and cannot be read, or holds no state of an optimizer.
    """
    files = registration.optimizer_path
    absent = next((path for path in files if not is_url(path) and not os.path.exists(path)), None)
    why = "" if absent is None else f"{os.path.basename(absent)} is absent"
    states: dict[str, OptimizerState] = {}
    try:
        if absent is None:
            states = _read(files)
    except UnreachableError as error:
        why = f"{os.path.basename(redacted(error.subject))} cannot be read here ({error.problem})"
    if not why:
        each = {name: parts.part_of(structure, name) for name in definition.parts}
        return replace(structure, optimizers=parts.by_part(states, each) if each else states), ()
    same = stored is not None and fingerprint.digest(stored) == fingerprint.digest(structure)
    if stored is None or not same or not stored.optimizers:
        return replace(structure, optimizers={}), (f"{why}, and no snapshot has its state",)
    return replace(structure, optimizers=stored.optimizers), (f"{why}: its state is the snapshot's",)


def _read(files: tuple[str, ...]) -> dict[str, OptimizerState]:
    """The states in files, by their paths; of several files, after the file's number."""
    if len(files) == 1:
        return readers.read_optimizers(files[0])
    return {
        f"{number}.{path}" if path else str(number): state
        for number, file in enumerate(files)
        for path, state in readers.read_optimizers(file).items()
    }
