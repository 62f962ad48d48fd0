"""What a user names on the command line: a checkpoint, a snapshot or a definition."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.structure import Structure
    from pytest_ckpt_compat._core.verdict import Verdict
    from pytest_ckpt_compat._definition.find import Definition

_DEFINITION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def compare(old: str, new: str) -> Verdict:
    """Compares two sides; loads the old one into the new one if that is a definition.

    Raises:
        CkptCompatError: a side cannot be read, found or built.
    """
    from pytest_ckpt_compat._check import check
    from pytest_ckpt_compat._core.changes import Policy
    from pytest_ckpt_compat._definition.surroundings import search_path

    with search_path(str(Path.cwd())):
        if not _is_definition(new):
            return check.diff(_side(old), _side(new))
        from pytest_ckpt_compat._definition.find import find

        definition = find(new)
        structure, notes = _old_side(old, definition)
        verdict = check.check_structure(structure, definition, Policy())
        return replace(verdict, notes=(*verdict.notes, *notes))


def read(path: str, key: str | None = None) -> Structure:
    """Reads a checkpoint or a snapshot; reports on standard error if it takes long.

    Raises:
        CkptCompatError: it cannot be read.
    """
    if _is_definition(path):
        advice = f"show reads files; to see a definition's keys: ckpt-compat diff FILE {path}"
        raise UsageError(path, "is a definition", advice)
    from pytest_ckpt_compat import _readers
    from pytest_ckpt_compat._cli.progress import reported_if_slow
    from pytest_ckpt_compat._snapshots import store

    stored = store.read_file(path)
    if stored is not None:
        return stored
    with reported_if_slow(path):
        return _readers.read(path, key)


def _old_side(text: str, definition: Definition) -> tuple[Structure, tuple[str, ...]]:
    """What is to be loaded into a definition: of a file's state_dicts the one that fits, and a note."""
    from pytest_ckpt_compat._check.reading import read_for
    from pytest_ckpt_compat._cli.progress import reported_if_slow
    from pytest_ckpt_compat._snapshots import store

    if _is_definition(text):
        return _side(text), ()
    stored = store.read_file(text)
    if stored is not None:
        return stored, ()
    with reported_if_slow(text):
        return read_for(text, None, definition)


def _side(text: str) -> Structure:
    if _is_definition(text):
        from pytest_ckpt_compat._definition import define

        return define(text)
    return read(text)


def _is_definition(text: str) -> bool:
    return bool(_DEFINITION.fullmatch(text)) and not Path(text).exists()
