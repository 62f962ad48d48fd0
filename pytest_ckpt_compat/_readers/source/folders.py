"""Folders that hold the files of one checkpoint. No file outside the folder is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, UnreachableRefusalError, damaged, over_limit
from pytest_ckpt_compat._readers.source.files import Blob, open_blob

_SEPARATORS = frozenset("/\\:\0")


class Folder(Protocol):
    """A folder with the files of a checkpoint, addressed by plain file names."""

    def open(self, name: str) -> AbstractContextManager[Blob]:
        """Opens the file ``name``. Raises RefusalError."""
        ...

    def names(self) -> frozenset[str] | None:
        """Lists all names in the folder; None where listing is impossible."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder on this machine.

    Attributes:
        path: the path as the user gave it.
    """

    path: str

    def open(self, name: str) -> AbstractContextManager[Blob]:
        """Opens a file in the folder. Refuses a link that leads out of it."""
        path = os.path.join(self.path, plain_name(name))
        if os.path.islink(path):  # nothing else leads out of it: to resolve the whole path takes longer
            self._require_inside(path, name)
        return open_blob(path)

    def names(self) -> frozenset[str]:
        """Lists all names in the folder."""
        found = []
        try:
            with os.scandir(self.path or os.curdir) as entries:
                for entry in entries:
                    found.append(entry.name)
                    if len(found) > limits.DIRECTORY_ENTRIES:
                        raise over_limit("files in its folder", limits.DIRECTORY_ENTRIES)
        except OSError as error:
            raise RefusalError(
                f"its folder cannot be listed: {error.strerror or error}",
                "check the path and its permissions",
            ) from None
        return frozenset(found)

    def enter(self, name: str) -> LocalFolder:
        """Returns a folder inside this one. Refuses a link that leads out of it."""
        path = os.path.join(self.path, plain_name(name))
        self._require_inside(path, name)
        return LocalFolder(path)

    def _require_inside(self, path: str, name: str) -> None:
        root = os.path.realpath(self.path)
        target = os.path.realpath(path)
        if target.startswith(os.path.join(root, "")):
            return
        # Hugging Face's cache keeps the files in blobs/, and links to them from snapshots/<revision>/.
        snapshots, repository = os.path.dirname(root), os.path.dirname(os.path.dirname(root))
        cached = os.path.basename(snapshots) == "snapshots"
        if cached and os.path.dirname(target) == os.path.join(repository, "blobs"):
            return
        raise RefusalError(f"its part {name!r} is a link that leaves the folder", "put the file itself there")


def plain_name(name: object) -> str:
    """Returns ``name`` if it can only mean a file in the same folder. Raises RefusalError otherwise."""
    if (
        type(name) is not str
        or not name
        or len(name) > 255
        or name in (".", "..")
        or not _SEPARATORS.isdisjoint(name)
    ):
        # Any other value may be too long to print.
        shown = name[:100] if type(name) is str else type(name).__name__
        raise damaged(f"it names the part {shown!r}, which is not a plain file name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise damaged(f"it names the part {name!r}, which is not valid Unicode") from None
    return name


@contextmanager
def naming_part(name: str) -> Iterator[None]:
    """Adds the name of the file to a refusal raised inside the context."""
    try:
        yield
    except RefusalError as refusal:
        kind = UnreachableRefusalError if isinstance(refusal, UnreachableRefusalError) else RefusalError
        raise kind(f"in its part {name!r}, {refusal.problem}", refusal.advice) from None
