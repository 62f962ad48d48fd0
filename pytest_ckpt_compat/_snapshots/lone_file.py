"""A snapshot that lies anywhere, as a file that a user names; it is not in the project's folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.formats import safetensors


def read_file(path: str | os.PathLike[str]) -> Structure | None:
    """The structure in a snapshot anywhere, or None for a file of another kind.

    Raises:
        SnapshotError: it is a fingerprint that cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.lstrip()[:1] != b"{" or safetensors.looks_like(head, path.stat().st_size):
        return None
    from pytest_ckpt_compat._snapshots import fingerprint, store  # most files are none

    text = store.text_in(path)
    # What no other JSON has: the name of the format, or a table of tensors.
    found = re.search(rf'"{re.escape(fingerprint.FORMAT)}"|"tensors"\s*:\s*\{{', text)
    return fingerprint.loads(text, str(path)) if found else None
