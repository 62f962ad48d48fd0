"""Where in the repository a finding is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_ckpt_compat._registry.names import PROJECT_FILES


@dataclass(frozen=True)
class Place:
    """A line of a file.

    Attributes:
        path: relative to the root of the repository, with ``/``.
        line: counted from 1.
    """

    path: str
    line: int


class Places:
    """Finds places below the root of the repository that a folder is in, or below that folder itself."""

    def __init__(self, folder: Path) -> None:
        """Finds the root, and the file that stands in for what has no place of its own."""
        self._folder = folder.resolve()
        above = (self._folder, *self._folder.parents)
        self._root = next((each for each in above if (each / ".git").exists()), self._folder)
        within = above[: above.index(self._root) + 1]
        files = (each / name for each in within for name in PROJECT_FILES)
        self._default = next((each for each in files if each.is_file()), None)

    def of(self, *wheres: str) -> Place | None:
        """The place of a finding.

        Args:
            wheres: ``models/net.py:88``, relative to the folder, or "": the best first.

        Returns:
            The first line of the project's file for what has none in the repository; None without that file.
        """
        for where in wheres:
            file, _, line = where.rpartition(":")
            path = self._inside(self._folder / file) if file and line.isdigit() else None
            if path is not None:
                return Place(path, max(int(line), 1))
        default = self._inside(self._default) if self._default else None
        return Place(default, 1) if default else None

    def _inside(self, path: Path) -> str | None:
        try:
            return path.resolve().relative_to(self._root).as_posix()
        except (OSError, ValueError):
            return None
