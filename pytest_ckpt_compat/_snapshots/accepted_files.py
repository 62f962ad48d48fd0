"""Writes accepted breaks: a new entry gets a file of its own, so that git merges it with other new ones."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._snapshots import accepted, accepted_edit
from pytest_ckpt_compat._snapshots.accepted import FILE, FOLDER, Entry
from pytest_ckpt_compat._snapshots.shown import shown_folder
from pytest_ckpt_compat._snapshots.writing import write

#: Characters of an id in the name of a file.
_LONGEST = 60


def save(folder: Path, entries: Sequence[Entry]) -> list[str]:
    """Adds entries, or updates those with the same id, rule and key; all or none.

    Of several with the same id, rule and key, the first is updated; those go that it then covers.

    Returns:
        The files that the entries are in, relative to the snapshot folder.

    Raises:
        SnapshotError: a file cannot be read or written; what was there stays.
    """
    texts: dict[str, str] = {}
    found: list[str] = []
    before = accepted.load(folder)
    for entry in entries:
        known = [each for each in before if each.identity == entry.identity]
        name = known[0].file if known else name_of(entry)
        found.append(name)
        shown = f"{shown_folder(folder)}/{name}"
        text = texts.get(name, accepted.read(folder, name))
        # A new entry's file is there where a person has made another entry of the one it was written for.
        texts[name] = accepted_edit.put(text, entry, shown) if text else accepted_edit.alone(entry)
        covers = {*map(visible, entry.changes)}
        for each in known[1:]:
            if each.file != name and covers.issuperset(map(visible, each.changes)):
                text = texts.get(each.file, accepted.read(folder, each.file))
                texts[each.file] = accepted_edit.without(text, [each], f"{shown_folder(folder)}/{each.file}")
    _write(folder, texts)
    return found


def drop(folder: Path, gone: Collection[Entry]) -> None:
    """Takes entries out; a file that has none left goes with them, but for what a person wrote in ours.

    Raises:
        SnapshotError: a file cannot be read, edited or written; what was there stays.
    """
    texts = {
        name: accepted_edit.without(accepted.read(folder, name), gone, f"{shown_folder(folder)}/{name}")
        for name in accepted.names(folder)
        if any(entry in gone for entry in accepted.entries_of(folder, name))
    }
    _write(folder, texts)


def name_of(entry: Entry) -> str:
    """The file of a new entry: ``accepted/CK202.net-v1.3f2a91bc.toml``.

    It follows from the entry, so that two branches give the same entry the same file, and different ones
    different files, on a disk that takes upper case for lower case, too.
    """
    text = accepted_edit.alone(entry)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    shown = re.sub(r"[^A-Za-z0-9_-]+", "-", entry.id)[:_LONGEST].strip("-")
    return f"{FOLDER}/{'.'.join(filter(None, (entry.rule, shown, digest)))}.toml"


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes the files, all or none; those without an entry go."""
    before = {name: accepted.read(folder, name) for name in texts}
    done: list[str] = []
    try:
        for name, text in texts.items():
            done.append(name)
            _put(folder, name, text)
    except BaseException:
        for name in done:
            with contextlib.suppress(Exception):
                _put(folder, name, before[name])
        raise


def _put(folder: Path, name: str, text: str) -> None:
    empty = not accepted.loads(text, f"{shown_folder(folder)}/{name}", name)
    if accepted_edit.is_bare(text) or (empty and name != FILE):
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are in it
            (folder / FOLDER).rmdir()
    else:
        write(folder / name, text)
