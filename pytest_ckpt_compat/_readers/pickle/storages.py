"""The storages that a pickle of torch refers to by persistent id."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pytest_ckpt_compat._core.structure import ITEM_SIZES
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import damaged
from pytest_ckpt_compat._readers.pickle import dtypes
from pytest_ckpt_compat._readers.pickle.inert import Storage
from pytest_ckpt_compat._readers.source.zip_directory import Archive


class StorageTable(ABC):
    """The storages of one pickle by name. Each has one description only."""

    def __init__(self) -> None:
        self.known: dict[str, Storage] = {}

    @abstractmethod
    def load(self, saved: Any) -> Any:
        """Returns the value of a persistent id. Raises RefusalError."""

    @abstractmethod
    def make(self, dtype: str, name: str, numel: int) -> Storage:
        """Makes the storage of a name that is new to the table. Raises RefusalError."""

    def storage(self, kind: Any, name: Any, numel: Any) -> Storage:
        """Returns the storage that a persistent id describes. Refuses a second, different description."""
        if type(name) is not str or type(numel) is not int or not 0 <= numel <= limits.ELEMENTS:
            raise damaged(
                "its pickle describes a storage by something other than a name and a number of elements"
            )
        dtype = dtypes.of_storage(kind)
        known = self.known.get(name)
        if known is None:
            known = self.known[name] = self.make(dtype, name, numel)
        elif (known.dtype, known.numel) != (dtype, numel):
            raise damaged(f"its pickle describes the storage {name!r} in two ways")
        return known


class NoStorages(StorageTable):
    """The table of a pickle that may not refer to storages."""

    def load(self, saved: Any) -> Any:
        """Refuses every persistent id."""
        del saved
        raise damaged("its pickle refers to something outside itself")

    def make(self, dtype: str, name: str, numel: int) -> Storage:
        """Never reached."""
        raise NotImplementedError


class ZipStorages(StorageTable):
    """The storages of a zip archive, one a record in the folder ``data`` of its root."""

    def __init__(self, archive: Archive, root: str) -> None:
        super().__init__()
        self._archive = archive
        self._root = root
        order = archive.records.get(f"{root}/byteorder")
        self.native_order = order is None or order.size == len(b"little")

    def load(self, saved: Any) -> Storage:
        """Returns the storage of a persistent id ``('storage', class, key, device, numel)``."""
        if type(saved) is not tuple or len(saved) != 5 or saved[0] != "storage":
            raise damaged("its pickle refers to something other than a storage")
        _, kind, name, _, numel = saved
        return self.storage(kind, name, numel)

    def make(self, dtype: str, name: str, numel: int) -> Storage:
        """Finds the storage's record. Refuses one that is too short."""
        result = Storage(dtype, f"{self._root}/data/{name}", numel)
        record = self._archive.records.get(result.record)
        if record is None:
            raise damaged(f"its record {result.record!r} is missing")
        if numel * ITEM_SIZES[dtype] > record.size:
            raise damaged(f"its record {result.record!r} is shorter than the storage in it")
        blob = self._archive.blob
        if blob.start and blob.locatable:  # inside another file, in whose directory the record is not
            return Storage(dtype, "", numel, blob.start + self._archive.data_offset(record))
        return result
