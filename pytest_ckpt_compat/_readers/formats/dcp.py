"""Checkpoints of ``torch.distributed.checkpoint``: a pickle ``.metadata`` describes all tensors.

Written after ``torch/distributed/checkpoint/metadata.py`` of torch 2.13. Shapes are those of whole
tensors, however many ranks wrote the files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_ckpt_compat._core.pickled import Name
from pytest_ckpt_compat._core.structure import ITEM_SIZES, Location, Structure
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import Budget, RefusalError, damaged, over_limit
from pytest_ckpt_compat._readers.pickle import dtypes
from pytest_ckpt_compat._readers.pickle.asked import Asked
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, Tensor
from pytest_ckpt_compat._readers.pickle.interpreter import interpret
from pytest_ckpt_compat._readers.pickle.storages import NoStorages
from pytest_ckpt_compat._readers.shapes import contiguous, shape
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import Folder, plain_name
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded, assemble

#: The location of a tensor is ``.metadata``, and its name there: its data may lie in pieces.
FORMAT = "torch distributed checkpoint"
METADATA = ".metadata"
#: Steps of work per name in a path: each may make a dictionary of more than 200 bytes.
_PATH_COST = 20
_HOME = "torch.distributed.checkpoint.metadata."
#: Module -> what torch writes of it into ``.metadata``.
_OWN: Mapping[str, frozenset[str]] = {
    "torch.distributed.checkpoint.metadata": frozenset(
        {
            *("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "BytesStorageMetadata"),
            *("ChunkStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING"),
        }
    ),
    "torch.distributed.checkpoint.filesystem": frozenset({"_StorageInfo"}),
    "torch.distributed._shard.sharded_tensor.metadata": frozenset(
        {"TensorProperties", "MEM_FORMAT_ENCODING"}
    ),
    "torch.serialization": frozenset({"_get_layout"}),
    "torch": frozenset({"Size", "memory_format"}),
    "pathlib": frozenset({"Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"}),
    "collections": frozenset({"OrderedDict"}),
}
_MARK = b"torch.distributed.checkpoint.metadata"


def looks_like(head: bytes) -> bool:
    """Whether a file is a pickle that begins with the class of ``.metadata``."""
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and _MARK in head


def read_dcp(blob: Blob, folder: Folder, key: str | None, budget: Budget) -> Structure:
    """Reads the structure of a distributed checkpoint from its ``.metadata``."""
    loaded, names = _load(blob, folder, budget)
    structure = assemble(loaded, key)
    if not loaded.locatable:
        return structure
    start = f"{structure.source.container}." if structure.source.container else ""
    places = {
        key: Location(blob.path, names[start + key], 0, contiguous(spec.shape))
        for key, spec in structure.tensors.items()
        if start + key in names
    }
    return replace(structure, locations=places)


def files_of(blob: Blob) -> tuple[str, ...]:
    """Names of the data files that ``.metadata`` describes."""
    if blob.size > limits.PICKLE_BYTES:
        raise over_limit("bytes in its pickle", limits.PICKLE_BYTES)
    value, _ = interpret(blob.read_at(0, blob.size), NoStorages().load)
    return tuple(sorted(_files(_state(value, "Metadata").get("storage_data"))))


def load_dcp(blob: Blob, folder: Folder, budget: Budget) -> Loaded:
    """Reads all that ``.metadata`` describes, nested as it was saved."""
    return _load(blob, folder, budget)[0]


def _load(blob: Blob, folder: Folder, budget: Budget) -> tuple[Loaded, dict[str, str]]:
    """Returns also dotted path -> name in the table, of the tensors."""
    if blob.size > limits.PICKLE_BYTES:
        raise over_limit("bytes in its pickle", limits.PICKLE_BYTES)
    asked = Asked()
    value, end = interpret(blob.read_at(0, blob.size), NoStorages().load, budget=budget, asked=asked)
    if end != blob.size:
        raise damaged("it has data after the end of its pickle")
    facts = _state(value, "Metadata")
    table, paths = facts.get("state_dict_metadata"), facts.get("planner_data")
    if type(table) is not dict:
        raise damaged("it has no table of tensors")
    _check_files(folder, facts.get("storage_data"))
    root: dict[Any, Any] = {}
    names: dict[str, str] = {}
    for name, entry in table.items():
        if type(name) is not str:
            raise damaged("its table has a name that is not text")
        path = paths.get(name, (name,)) if isinstance(paths, dict) else (name,)
        budget.spend(_PATH_COST * len(path) if type(path) is tuple else 0)
        found = _entry(name, entry)
        _put(root, path, found)
        if type(found) is Tensor:
            names[".".join(map(str, path))] = name
    harmless = all(map(_is_torchs_own, asked.pickled().names))
    return Loaded(root, blob.path, FORMAT, blob.locatable and harmless), names


def _is_torchs_own(name: Name) -> bool:
    """Whether torch itself writes a name into ``.metadata``: only then is torch let unpickle it."""
    module, attribute = name
    dtype = module == "torch" and attribute in ITEM_SIZES
    return dtype or attribute in _OWN.get(module, ())


def _state(value: Any, name: str) -> dict[Any, Any]:
    """Returns the fields of a record of the class ``name``. Refuses any other value."""
    if type(value) is not Made or type(value.maker) is not Global or not isinstance(value.state, dict):
        raise damaged(f"it has another value where a {name} is expected")
    if str(value.maker) != _HOME + name:
        raise damaged(f"it has a {value.maker} where a {name} is expected")
    return value.state


def _entry(name: str, entry: Any) -> Any:
    """Returns the tensor that an entry describes. Bytes stay opaque: another file holds them."""
    known = type(entry) is Made and type(entry.maker) is Global
    if known and str(entry.maker) == f"{_HOME}BytesStorageMetadata":
        return Made(Global("torch.distributed.checkpoint", "bytes"), ())
    facts = _state(entry, "TensorStorageMetadata")
    properties, chunks = facts.get("properties"), facts.get("chunks")
    state = properties.state if type(properties) is Made else None
    dtype = state[0] if type(state) is tuple and state else None
    if isinstance(state, dict):
        dtype = state.get("dtype")
    size = shape(facts.get("size"))
    if not isinstance(chunks, list):
        raise damaged(f"{name!r} has no list of chunks")
    _check_chunks(name, size, chunks)
    return Tensor(dtypes.of_global(dtype), size)


def _check_chunks(name: str, size: tuple[int, ...], chunks: list[Any]) -> None:
    """Refuses chunks that do not lie inside their tensor, or do not fill it."""
    numel = 0
    for chunk in chunks:
        facts = _state(chunk, "ChunkStorageMetadata")
        begin, part = shape(facts.get("offsets")), shape(facts.get("sizes"))
        if not len(begin) == len(part) == len(size):
            raise damaged(f"{name!r} has a chunk with a different number of dimensions")
        if any(start + length > whole for start, length, whole in zip(begin, part, size, strict=True)):
            raise damaged(f"{name!r} has a chunk that reaches beyond it")
        numel += math.prod(part)
    if numel < math.prod(size):
        raise damaged(f"{name!r} has chunks that do not fill it")


def _put(root: dict[Any, Any], path: Any, value: Any) -> None:
    """Inserts a value at its path of names and list indexes in the nested state_dict."""
    if type(path) is not tuple or not 0 < len(path) <= limits.DEPTH:
        raise damaged("its table has a path that is not a list of names")
    if any(type(part) not in (str, int) for part in path):
        raise damaged("its table has a path whose parts are not names or numbers")
    parent = root
    for part in path[:-1]:
        parent = parent.setdefault(part, {})
        if type(parent) is not dict:
            raise damaged("its table has a path that leads through another value")
    if path[-1] in parent:
        raise damaged("its table has two values at one path")
    parent[path[-1]] = value


def _check_files(folder: Folder, stored: Any) -> None:
    """Refuses a checkpoint whose data files are not all in the folder."""
    wanted = _files(stored)
    names = folder.names()
    missing = sorted(wanted - names) if names is not None else []
    if missing:
        raise RefusalError(
            f"{len(missing)} of its {len(wanted)} data files are missing, {missing[0]!r} first",
            "fetch the whole directory",
        )


def _files(stored: Any) -> set[str]:
    wanted: set[str] = set()
    if not isinstance(stored, dict):
        return wanted
    for location in stored.values():
        facts = location.state if type(location) is Made else None
        if isinstance(facts, dict) and "relative_path" in facts:
            wanted.add(plain_name(facts["relative_path"]))
    return wanted
