"""Settles conflicts of git in files with accepted breaks: what both branches accepted stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._snapshots import accepted, accepted_edit, conflicts
from pytest_ckpt_compat._snapshots.accepted import Entry
from pytest_ckpt_compat._snapshots.shown import shown_folder
from pytest_ckpt_compat._snapshots.writing import write


def settle(folder: Path) -> Iterator[str]:
    """Writes what both sides of a conflict have, in place of it; yields a line for each file.

    Args:
        folder: the snapshot folder.

    Raises:
        SnapshotError: a file cannot be read or written, or a side of a conflict is no file of its own.
    """
    for name in accepted.names(folder):
        text = accepted.read(folder, name)
        if not conflicts.line_of_marker(text):
            continue
        shown = f"{shown_folder(folder)}/{name}"
        ours, theirs = conflicts.sides(text)
        for entry in accepted.loads(theirs, shown, name):
            known = [each for each in accepted.loads(ours, shown, name) if each.identity == entry.identity]
            ours = accepted_edit.put(ours, _both(known[0], entry) if known else entry, shown)
        found = accepted.loads(ours, shown, name)
        write(folder / name, ours)
        number = sum(len(each.changes) for each in found)
        yield f"merged    {shown}: what both branches accepted ({count(number, 'change')}); review it"


def _both(one: Entry, other: Entry) -> Entry:
    """One entry for what two cover, with both reasons, until the earlier of their dates."""
    # Accepting more puts a reason behind the one that was there.
    reason = "; ".join(
        dict.fromkeys(part.strip() for each in (one, other) for part in each.reason.split("; "))
    )
    dates = [each.until for each in (one, other) if each.until is not None]
    changes = tuple(dict.fromkeys((*one.changes, *other.changes)))
    return replace(one, reason=reason, until=min(dates, default=None), changes=changes)
