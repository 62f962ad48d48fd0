"""Folders of the Hugging Face Hub, and the Hub's cache on this machine."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pytest_ckpt_compat._core.addresses import redacted
from pytest_ckpt_compat._core.hub import Repository, repository
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import LocalFolder, plain_name
from pytest_ckpt_compat._readers.source.remote import open_url, with_system


@dataclass(frozen=True, slots=True)
class HubFolder(LocalFolder):
    """A folder of a model on the Hub; ``path`` is how messages name it.

    Attributes:
        url: its address.
    """

    url: str = ""

    def open(self, name: str) -> AbstractContextManager[Blob]:
        """Opens a file in the folder."""
        return open_url(self.url_of(name))

    def url_of(self, name: str) -> str:
        """The address of a file in the folder."""
        return f"{self.url.rstrip('/')}/{plain_name(name)}"

    def names(self) -> frozenset[str]:
        """Lists all names in the folder."""
        listed = with_system(self.url, dict, lambda system, path: list(system.ls(path, detail=False)))
        return frozenset(str(each).rpartition("/")[2] for each in listed)

    def enter(self, name: str) -> LocalFolder:
        """Refuses: what lies deeper has an address of its own."""
        raise RefusalError(f"it refers to the folder {name!r} in it", "give the address of that folder")


def hub_folder(url: str) -> HubFolder | None:
    """The folder of the Hub that an address names; None for an address of anything else."""
    found = repository(url)
    return HubFolder(redacted(url), url) if found is not None and found.is_folder else None


def cached(url: str) -> str:
    """The path of a file or folder of the Hub in its cache on this machine; "" if it is not there."""
    found = repository(url)
    if found is None:
        return ""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return ""
    try:
        folder = snapshot_download(found.id, revision=found.revision, local_files_only=True)
    except (OSError, ValueError):  # LocalEntryNotFoundError is both, and others are of one kind
        return ""
    path = os.path.join(folder, *found.inside.split("/"))
    return path if os.path.exists(path) and not _leaves(found) else ""


def _leaves(found: Repository) -> bool:
    return ".." in found.inside.split("/")
