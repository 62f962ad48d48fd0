"""The folder that stores the snapshots, a text file each."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._registry.names import DEFINITIONS, UPDATE
from pytest_ckpt_compat._registry.names import SNAPSHOT_SUFFIX as _SUFFIX
from pytest_ckpt_compat._snapshots import fingerprint
from pytest_ckpt_compat._snapshots.shown import shown_folder
from pytest_ckpt_compat._snapshots.writing import write

#: Characters of a snapshot whose structure is kept while others are read.
_KEPT = 100_000


def checkpoint_name(identifier: str) -> str:
    """File name, relative to the snapshot folder, of the snapshot of a checkpoint."""
    return identifier + _SUFFIX


def definition_name(identifier: str) -> str:
    """File name, relative to the snapshot folder, of the snapshot of a definition."""
    return f"{DEFINITIONS}/{identifier}{_SUFFIX}"


def path_of(folder: Path, name: str) -> Path:
    """The path of a snapshot, whose name on the disk is UTF-8 whatever the locale's encoding is."""
    return folder / os.fsdecode(name.encode("utf-8", "surrogateescape"))


def exists(folder: Path, name: str) -> bool:
    """Whether a snapshot is stored."""
    return os.path.exists(path_of(folder, name))


def load(folder: Path, name: str) -> Structure | None:
    """The stored structure, or None where none is stored.

    Raises:
        SnapshotError: the file exists and cannot be used.
    """
    path = path_of(folder, name)
    if not exists(folder, name):
        return None
    if not is_definition(name):
        return _load(path, f"{UPDATE} {shlex.quote(identifier(name))}")
    return of_definition(text_in(path), str(path))


def of_definition(text: str, path: str) -> Structure:
    """The structure in the text of a definition's snapshot; of short ones, it is kept.

    Raises:
        SnapshotError: the text cannot be used.
    """
    return _parsed(text, path) if len(text) <= _KEPT else fingerprint.loads(text, path)


@functools.lru_cache(maxsize=64)
def _parsed(text: str, path: str) -> Structure:
    """The structure in a definition's snapshot, which each of its checkpoints asks for."""
    return fingerprint.loads(text, path)


def _load(path: Path, again: str = UPDATE) -> Structure:
    return fingerprint.loads(text_in(path, again), str(path), again)


def text_in(path: Path, again: str = UPDATE) -> str:
    """The text in a file. Raises SnapshotError, which advises to make it again by a command."""
    try:
        return files.read_text(path, files.SNAPSHOT_BYTES)
    except (OSError, ValueError) as error:
        raise SnapshotError(str(path), f"cannot be read: {error}", fingerprint.redo_advice(again)) from error


def text_of(folder: Path, name: str) -> str:
    """The text of a stored snapshot.

    Raises:
        SnapshotError: it cannot be read.
    """
    return text_in(path_of(folder, name))


def save(folder: Path, name: str, text: str) -> None:
    """Writes a snapshot, whole or not at all.

    Raises:
        SnapshotError: the folder cannot be written to, or the text is too long; what was there stays.
    """
    try:
        files.require_size(len(text.encode()), files.SNAPSHOT_BYTES)
    except ValueError as error:
        problem = f"cannot be written: {error}"
        raise SnapshotError(
            str(path_of(folder, name)), problem, "check fewer tensors as one checkpoint"
        ) from error
    write(path_of(folder, name), text)


def names(folder: Path) -> Iterator[str]:
    """Names of all stored snapshots, sorted, relative to the folder."""
    for path in sorted(folder.rglob("*" + _SUFFIX)):
        name = PurePosixPath(path.relative_to(folder)).as_posix()
        yield os.fsencode(name).decode("utf-8", "surrogateescape")


def remove(folder: Path, name: str) -> None:
    """Removes a snapshot, and the folders that it leaves empty.

    Raises:
        SnapshotError: it cannot be removed.
    """
    path = path_of(folder, name)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SnapshotError(str(path), f"cannot be removed ({error.strerror})", "check the folder") from error
    for parent in path.parents:
        if parent == folder:
            break
        with contextlib.suppress(OSError):
            parent.rmdir()


def is_definition(name: str) -> bool:
    """Whether a snapshot is a definition's."""
    return name.startswith(DEFINITIONS + "/")


def identifier(name: str) -> str:
    """The id in a file name of ``checkpoint_name`` or ``definition_name``."""
    return name.removesuffix(_SUFFIX).removeprefix(DEFINITIONS + "/")


def replaced(gone: Iterable[str], came: Iterable[str]) -> dict[str, str]:
    """Snapshots of definitions that are gone -> one that came of the same model with other arguments."""
    successors = {_model_of(name): name for name in sorted(came) if is_definition(name)}
    return {
        name: successors[_model_of(name)]
        for name in gone
        if is_definition(name) and _model_of(name) in successors
    }


def _model_of(name: str) -> str:
    """The model in the name of a definition's snapshot, without the arguments that it is built with."""
    return identifier(name).partition("(")[0]


def recorded(folder: Path) -> Iterator[tuple[str, str]]:
    """(path as reports show it, id) of every checkpoint that has a snapshot."""
    for name in names(folder):
        if is_definition(name):
            continue
        try:
            path = fingerprint.path_in(text_in(path_of(folder, name)))
            path = path or _load(path_of(folder, name)).source.path
        except SnapshotError:
            path = identifier(name)
        yield path, identifier(name)


def unused(folder: Path, used: Iterable[str]) -> list[str]:
    """Names of the snapshots that are not among those used."""
    known = set(used)
    return [name for name in names(folder) if name not in known]


def shown(folder: Path, name: str) -> str:
    """A snapshot's name as reports show it."""
    return f"{shown_folder(folder)}/{name}"
