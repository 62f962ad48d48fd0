"""What a user names on the command line: a checkpoint, a snapshot or a definition."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.addresses import is_url, redacted
from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._check.migration_writer import Sides
    from pytest_ckpt_compat._core.structure import Structure
    from pytest_ckpt_compat._core.verdict import Verdict
    from pytest_ckpt_compat._definition.find import Definition

#: Python's names begin with a letter of any script.
_DEFINITION = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def compare(old: str, new: str) -> Verdict:
    """Compares two sides; loads the old one into the new one if that is a definition.

    Raises:
        CkptCompatError: a side cannot be read, found or built.
    """
    from pytest_ckpt_compat._check import check
    from pytest_ckpt_compat._core.changes import Policy
    from pytest_ckpt_compat._definition.surroundings import search_path

    with search_path(str(Path.cwd())):
        if not definition_named(new):
            return _with_command(check.diff(_side(old), _side(new)), old, new)
        from pytest_ckpt_compat._definition.find import find

        definition = find(new)
        structure, notes = old_side(old, definition)
        verdict = check.check_structure(structure, definition, Policy())
        return _with_command(replace(verdict, notes=(*verdict.notes, *notes)), old, new)


def _with_command(verdict: Verdict, old: str, new: str) -> Verdict:
    """Adds the command that prints the repair, where there is one."""
    from pytest_ckpt_compat._check.breaks import may_be_migrated

    if not may_be_migrated(verdict) or definition_named(old):
        return verdict
    command = shlex.join(["ckpt-compat", "migrate", redacted(old), redacted(new)])
    return replace(verdict, repairs=(("fix", command), *verdict.repairs))


def read(path: str, key: str | None = None) -> Structure:
    """Reads a checkpoint or a snapshot; reports on standard error if it takes long.

    Raises:
        CkptCompatError: it cannot be read.
    """
    if definition_named(path):
        advice = f"show reads files; to see a definition's keys: ckpt-compat diff FILE {path}"
        raise UsageError(path, "is a definition", advice)
    from pytest_ckpt_compat import _readers
    from pytest_ckpt_compat._check.logged import fingerprint_at
    from pytest_ckpt_compat._cli.progress import reported_if_slow

    path = _snapshot_of(path)
    stored = fingerprint_at(path)
    if stored is not None:
        return stored
    with reported_if_slow(path):
        return _readers.read(path, key)


def old_side(text: str, definition: Definition) -> tuple[Structure, tuple[str, ...]]:
    """What is to be loaded into a definition: of a file's state_dicts the one that fits, and a note.

    Raises:
        CkptCompatError: it cannot be read.
    """
    from pytest_ckpt_compat._check.logged import fingerprint_at
    from pytest_ckpt_compat._check.reading import read_for
    from pytest_ckpt_compat._cli.progress import reported_if_slow

    if definition_named(text):
        return _side(text), ()
    text = _snapshot_of(text)
    stored = fingerprint_at(text)
    if stored is not None:
        return stored, ()
    with reported_if_slow(text):
        return read_for(text, None, definition)


def _snapshot_of(text: str) -> str:
    """The path of the snapshot, where a text is no file and the id of a checkpoint that was recorded.

    It is read as any file: no code of the project runs.

    Raises:
        UsageError: it is neither, and the name of no format's address; or a glob.
    """
    if is_url(text) or os.path.lexists(text) or ":" in text:
        return text
    from pytest_ckpt_compat._registry import ids, pytest_file
    from pytest_ckpt_compat._snapshots import store

    ids.refuse_glob(text, (), "one file or id")
    if ids.problem_of(text):
        return text
    root = pytest_file.root_of(Path.cwd())
    whole = root / pytest_file.snapshot_dir(root) / store.checkpoint_name(text)
    path = Path(os.path.relpath(whole))
    if path.is_file():
        return str(path)
    problem = f"there is no such file, nor {path.as_posix()}, its snapshot if it is an id"
    raise UsageError(text, problem, "check the path, or give the file of the checkpoint")


def compared_with_definition(old: str, new: str, key: str | None = None) -> tuple[Sides, tuple[str, ...]]:
    """Loads a checkpoint into a definition, for a migration; and notes on how it was read.

    Raises:
        CkptCompatError: a side cannot be read, found or built.
    """
    from pytest_ckpt_compat._check import migration
    from pytest_ckpt_compat._definition.find import find

    definition = find(new)
    structure, notes = (read(old, key), ()) if key is not None else old_side(old, definition)
    return migration.compared(structure, definition), notes


def _side(text: str) -> Structure:
    if definition_named(text):
        from pytest_ckpt_compat._definition import define

        return define(text)
    return read(text)


def definition_named(text: str) -> bool:
    """Whether a text names a definition, and no file."""
    return is_address(text) and not Path(text).exists()


def is_address(text: str) -> bool:
    """Whether a text has the form ``package.module:attr``."""
    return bool(_DEFINITION.fullmatch(text))
