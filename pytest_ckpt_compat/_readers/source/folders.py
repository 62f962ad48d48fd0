"""The files beside each other that make up one checkpoint, none of them outside their folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, damaged, over_limit
from pytest_ckpt_compat._readers.source.files import Blob, open_blob


class Folder(Protocol):
    """Where the parts of a checkpoint are, by their plain names."""

    def open(self, name: str) -> AbstractContextManager[Blob]:
        """Opens the file of that name."""
        ...

    def names(self) -> frozenset[str] | None:
        """The names of everything in it, or None where they cannot be listed."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder on this machine.

    Attributes:
        path: as the user named it.
    """

    path: str

    def open(self, name: str) -> AbstractContextManager[Blob]:
        """Opens a file in the folder; a link that leads out of it is refused."""
        path = os.path.join(self.path, plain_name(name))
        self._require_inside(path, name)
        return open_blob(path)

    def names(self) -> frozenset[str]:
        """The names of everything in the folder."""
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
        """A folder in the folder."""
        path = os.path.join(self.path, plain_name(name))
        self._require_inside(path, name)
        return LocalFolder(path)

    def _require_inside(self, path: str, name: str) -> None:
        root = os.path.realpath(self.path)
        target = os.path.realpath(path)
        if target.startswith(os.path.join(root, "")):
            return
        # The cache of Hugging Face keeps every file in blobs/ and links to it from snapshots/<revision>/.
        snapshots, repository = os.path.dirname(root), os.path.dirname(os.path.dirname(root))
        cached = os.path.basename(snapshots) == "snapshots"
        if cached and os.path.dirname(target) == os.path.join(repository, "blobs"):
            return
        raise RefusalError(f"its part {name!r} is a link that leaves the folder", "put the file itself there")


def plain_name(name: object) -> str:
    """A name that can only mean a file in the same folder."""
    if (
        type(name) is not str
        or not name
        or len(name) > 255
        or name in (".", "..")
        or any(ch in name for ch in "/\\:\0")
    ):
        shown = name[:100] if type(name) is str else type(name).__name__  # others may be endless to print
        raise damaged(f"it names the part {shown!r}, which is no plain file name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise damaged(f"it names the part {name!r}, which is not valid Unicode") from None
    return name


@contextmanager
def naming_part(name: str) -> Iterator[None]:
    """Adds the name of the part to a refusal."""
    try:
        yield
    except RefusalError as refusal:
        raise RefusalError(f"in its part {name!r}, {refusal.problem}", refusal.advice) from None
