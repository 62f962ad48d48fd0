"""Files of ``torch.save`` since torch 1.6: a zip archive with a pickle, and a record per storage."""

from __future__ import annotations

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.formats.archives import refuse_zip
from pytest_ckpt_compat._readers.formats.stable_baselines3 import (
    is_of_stable_baselines3,
    read_stable_baselines3,
)
from pytest_ckpt_compat._readers.formats.torch_export import is_export, read_export
from pytest_ckpt_compat._readers.formats.torchscript import read_torchscript
from pytest_ckpt_compat._readers.limits import Budget, RefusalError, damaged
from pytest_ckpt_compat._readers.pickle.asked import Asked
from pytest_ckpt_compat._readers.pickle.interpreter import interpret
from pytest_ckpt_compat._readers.pickle.storages import ZipStorages
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.zip_directory import Archive, read_directory
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded, assemble

FORMAT = "torch zip"


def read_torch_zip(blob: Blob, key: str | None, budget: Budget) -> Structure:
    """Reads the structure of any zip archive of torch: its directory, and a pickle or JSON."""
    archive = read_directory(blob)
    if is_export(archive):
        return read_export(archive, key, lambda part: load_torch_zip(part, budget))
    if is_of_stable_baselines3(archive):
        return read_stable_baselines3(archive, key, lambda part: load_torch_zip(part, budget))
    root = _root(archive)
    loaded = _load(archive, root, budget)
    if f"{root}/constants.pkl" in archive.records:
        return read_torchscript(archive, root, loaded, key)
    return assemble(loaded, key)


def load_torch_zip(blob: Blob, budget: Budget) -> Loaded:
    """Reads the whole value in a file of ``torch.save``. Refuses other zip archives."""
    archive = read_directory(blob)
    root = _root(archive)
    if f"{root}/constants.pkl" in archive.records:
        raise RefusalError("it is a TorchScript archive", "give a file that torch.save wrote")
    return _load(archive, root, budget)


def _load(archive: Archive, root: str, budget: Budget) -> Loaded:
    storages = ZipStorages(archive, root)
    pickle = archive.read(archive.records[f"{root}/data.pkl"], limits.PICKLE_BYTES)
    asked = Asked()
    value, end = interpret(pickle, storages.load, budget=budget, asked=asked)
    if end != len(pickle):
        raise damaged("its data.pkl has data after the end of the pickle")
    blob = archive.blob
    native = blob.locatable and storages.native_order
    return Loaded(value, blob.path, FORMAT, native, asked.pickled())


def _root(archive: Archive) -> str:
    """Returns the folder that holds all records of a torch file. Raises RefusalError."""
    roots = {name.partition("/")[0] for name in archive.records}
    for root in sorted(roots):
        if f"{root}/data.pkl" in archive.records:
            if len(roots) > 1:
                raise damaged("its zip records are in several folders")
            return root
    raise refuse_zip(archive.records.keys())
