"""Writes files that ``torch.load`` reads, one storage at a time.

A file is a zip archive without compression: ``data.pkl`` has everything but the numbers, which are in one
record a storage, each beginning at a multiple of 64 bytes, so that the file can be mapped into memory.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from typing import IO, Any

from pytest_ckpt_compat._convert.memory import pieces

_FOLDER = "archive"
_ALIGNMENT = 64
#: Id of the field in a record's header whose only use is to fill it up.
_FILLER = 0x4246
#: Records from this size on have the long form of sizes.
_LONG = (1 << 32) - (1 << 20)
#: Bytes of a local header without name and extra fields, and of the extra field of the long form.
_HEADER = 30
_LONG_FIELD = 20


def write(whole: Any, stream: IO[bytes], data: Callable[[Any], Any], written: Callable[[Any], None]) -> None:
    """Writes an object.

    Args:
        whole: what ``torch.load`` is to give: plain data and tensors on the CPU.
        stream: where to; a file that can be read by position.
        data: gives, for a storage in ``whole``, the one whose bytes are written; asked for each once, when
            its turn comes.
        written: called with each storage that was written.

    Raises:
        OSError: the stream cannot be written to.
        pickle.PicklingError: something in ``whole`` cannot be pickled.
    """
    pickled, storages = _pickled(whole)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _record(archive, "data.pkl", [memoryview(pickled)], len(pickled))
        _record(archive, "byteorder", [memoryview(sys.byteorder.encode())], len(sys.byteorder))
        for name, storage in storages.items():
            found = data(storage)
            _record(archive, f"data/{name}", pieces(found), found.nbytes())
            written(found)
            del found  # before the next is made
        _record(archive, "version", [memoryview(b"3\n")], 2)


def _pickled(whole: Any) -> tuple[bytes, dict[str, Any]]:
    """The pickle of an object, and record name -> storage."""
    import torch

    names: dict[int, str] = {}
    storages: dict[str, Any] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, torch.storage.TypedStorage):
                kind: Any = getattr(torch, value._pickle_storage_type())  # type: ignore[no-untyped-call]
                storage, number = value._untyped_storage, value._size()  # type: ignore[no-untyped-call]
            elif isinstance(value, torch.UntypedStorage):
                kind, storage, number = torch.UntypedStorage, value, value.nbytes()
            else:
                return None
            name = names.setdefault(storage._cdata, str(len(names)))
            storages.setdefault(name, storage)
            return "storage", kind, name, "cpu", number

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(whole)
    return stream.getvalue(), storages


def _record(archive: zipfile.ZipFile, name: str, parts: Any, size: int) -> None:
    """Writes one record whose data begin at a multiple of the alignment."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}", (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_STORED
    long = size >= _LONG
    stream: Any = archive.fp
    position = stream.tell() + _HEADER + len(info.filename.encode()) + (_LONG_FIELD if long else 0)
    fill = -(position + 4) % _ALIGNMENT
    info.extra = struct.pack("<HH", _FILLER, fill) + b"Z" * fill
    with archive.open(info, "w", force_zip64=long) as record:
        for part in parts:
            record.write(part)
