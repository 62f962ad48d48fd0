"""Hand-made files for the reader tests."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

#: Writes a torch zip around a pickle: ``forge(pickle, **records)`` gives its path.
Forge = Callable[..., Path]


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """A torch zip archive around any bytes as its ``data.pkl``; storage records by name."""

    def write(pickle: bytes, *, packed: bool = False, **records: bytes) -> Path:
        path = tmp_path / "forged.pt"
        how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", how) as archive:
            archive.writestr("forged/data.pkl", pickle)
            for name, data in records.items():
                archive.writestr(f"forged/data/{name}", data)
        return path

    return write
