"""How reports name the snapshot folder."""

from __future__ import annotations

from pathlib import Path


def shown_folder(folder: Path) -> str:
    """The folder as it is called from where the run is (``tests/snapshots``); elsewhere, its last name."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return folder.name
    below = folder.is_relative_to(here) and folder != here
    return folder.relative_to(here).as_posix() if below else folder.name
