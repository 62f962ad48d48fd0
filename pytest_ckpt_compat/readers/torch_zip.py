"""What ``torch.save`` writes since 1.6: a zip archive with one pickle, and a record per storage."""

from __future__ import annotations

from typing import Any

from pytest_ckpt_compat.readers import dtypes, limits
from pytest_ckpt_compat.readers.assemble import assemble
from pytest_ckpt_compat.readers.files import Blob
from pytest_ckpt_compat.readers.inert import Storage
from pytest_ckpt_compat.readers.limits import RefusalError, damaged
from pytest_ckpt_compat.readers.pickled import interpret
from pytest_ckpt_compat.readers.zip_directory import Archive, read_directory
from pytest_ckpt_compat.structure import ITEM_SIZES, Structure

FORMAT = "torch zip"


def read_torch_zip(blob: Blob, key: str | None) -> Structure:
    """The structure of a torch zip file. Only the directory and ``data.pkl`` are read."""
    archive = read_directory(blob)
    root = _root(archive)
    storages = _Storages(archive, root)
    pickle = archive.read(archive.records[f"{root}/data.pkl"], limits.PICKLE_BYTES)
    value, end = interpret(pickle, storages.load)
    if end != len(pickle):
        raise damaged("its data.pkl goes on after the pickle has ended")
    return assemble(value, blob.path, FORMAT, key, locatable=storages.native_order)


class _Storages:
    """Finds the record of each storage that the pickle refers to."""

    def __init__(self, archive: Archive, root: str) -> None:
        self._archive = archive
        self._root = root
        self._known: dict[str, Storage] = {}
        order = archive.records.get(f"{root}/byteorder")
        self.native_order = order is None or order.size == len(b"little")

    def load(self, saved: Any) -> Storage:
        """The storage of a persistent id ``('storage', class, key, device, numel)``."""
        if type(saved) is not tuple or len(saved) != 5 or saved[0] != "storage":
            raise damaged("its pickle refers to something that is no storage")
        _, kind, name, _, numel = saved
        if type(name) is not str or type(numel) is not int or not 0 <= numel <= limits.ELEMENTS:
            raise damaged(
                "its pickle describes a storage by other things than a name and a number of elements"
            )
        dtype = dtypes.of_storage(kind)
        known = self._known.get(name)
        if known is None:
            known = Storage(dtype, f"{self._root}/data/{name}", numel)
            self._check(known)
            self._known[name] = known
        elif (known.dtype, known.numel) != (dtype, numel):
            raise damaged(f"its pickle describes the storage {name!r} in two ways")
        return known

    def _check(self, storage: Storage) -> None:
        record = self._archive.records.get(storage.record)
        if record is None:
            raise damaged(f"its record {storage.record!r} is missing")
        if storage.numel * ITEM_SIZES[storage.dtype] > record.size:
            raise damaged(f"its record {storage.record!r} is shorter than the storage in it")


def _root(archive: Archive) -> str:
    """The folder that holds every record of a torch file."""
    roots = {name.partition("/")[0] for name in archive.records}
    for root in sorted(roots):
        if f"{root}/data.pkl" in archive.records:
            if len(roots) > 1:
                raise damaged("its zip records lie in several folders")
            if f"{root}/constants.pkl" in archive.records:
                raise RefusalError(
                    "it is a TorchScript archive, which is not read",
                    "save its weights with torch.save(torch.jit.load(path).state_dict(), new_path)",
                )
            return root
    raise RefusalError(*_foreign(archive))


def _foreign(archive: Archive) -> tuple[str, str]:
    """The problem with a zip archive that torch did not write, and the advice."""
    names = archive.records
    if "model.weights.h5" in names:
        return "it is a Keras file, which is not read", "convert its weights to a PyTorch state_dict"
    if any(
        name.endswith(("model_weights_config.json", "serialized_exported_program.json")) for name in names
    ):
        return (
            "it is a torch.export archive, which is not read",
            "save its weights with torch.save(torch.export.load(path).state_dict, new_path)",
        )
    if names and all(name.endswith(".npy") for name in names):
        return (
            "it is a NumPy archive, not a checkpoint",
            "convert it to a state_dict of tensors and save that with torch.save",
        )
    return "it is a zip archive without data.pkl, not a torch file", "give the file that torch.save wrote"
