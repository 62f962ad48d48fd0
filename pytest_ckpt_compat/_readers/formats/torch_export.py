"""Archives of ``torch.export.save`` (``.pt2``): a table of weights in JSON, and a record for each.

Those of torch before 2.8 hold a whole file of ``torch.save`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pytest_ckpt_compat._core.structure import ITEM_SIZES, Structure
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, damaged
from pytest_ckpt_compat._readers.pickle.inert import Storage, Tensor
from pytest_ckpt_compat._readers.pickle.tensors import dense
from pytest_ckpt_compat._readers.shapes import shape
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.strict_json import parse_object
from pytest_ckpt_compat._readers.source.zip_directory import Archive
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded, assemble, structure_of
from pytest_ckpt_compat._readers.state_dict.containers import require_top

FORMAT = "torch.export"
_OLD_PROGRAM = "serialized_exported_program.json"
_OLD_WEIGHTS = ("serialized_state_dict.pt", "serialized_state_dict.json")
_FOLDER = "/data/weights/"
_SUFFIX = "_weights_config.json"
_STRIDED = 7

#: ``ScalarType`` of torch 2.13 (``torch/_export/serde/schema.py``) -> dtype.
_DTYPES: Mapping[int, str] = MappingProxyType(
    {
        **dict(enumerate(("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"), 1)),
        **dict(enumerate(("complex32", "complex64", "complex128", "bool", "bfloat16"), 9)),
        28: "uint16",
        29: "float8_e4m3fn",
        30: "float8_e5m2",
        31: "float8_e4m3fnuz",
        32: "float8_e5m2fnuz",
        33: "float8_e8m0fnu",
        34: "uint32",
        35: "uint64",
    }
)


def is_export(archive: Archive) -> bool:
    """Whether ``torch.export.save`` wrote the archive."""
    return _OLD_PROGRAM in archive.records or bool(_configs(archive))


def read_export(archive: Archive, key: str | None, load: Callable[[Blob], Loaded]) -> Structure:
    """Reads the structure of the weights in an archive of ``torch.export.save``.

    Args:
        archive: the archive.
        key: the name of a model in it, needed if there are several.
        load: a reader of the ``torch.save`` file in an older archive.
    """
    if _OLD_PROGRAM in archive.records:
        require_top(key)
        return _read_old(archive, load)
    configs = _configs(archive)
    if key:
        configs = {name: record for name, record in configs.items() if name == key}
    if len(configs) != 1:
        names = sorted(_configs(archive))
        raise RefusalError(
            f"it holds the models {', '.join(map(repr, names[:8]))}",
            "choose one with " + " or ".join(f'key="{name}"' for name in names[:8]),
        )
    record = archive.records[next(iter(configs.values()))]
    table = parse_object(archive.read(record, limits.JSON_BYTES), f"its record {record.name!r}").get("config")
    if type(table) is not dict:
        raise damaged(f"its record {record.name!r} has no table of weights")
    folder = record.name.rpartition("/")[0]
    order = archive.records.get(f"{folder.partition('/')[0]}/byteorder")
    native = order is None or order.size == len(b"little")
    blob = archive.blob
    entries = {name: _tensor(archive, folder, name, entry) for name, entry in table.items()}
    return structure_of(
        entries, Loaded(None, blob.path, FORMAT, blob.locatable and native), container=key or ""
    )


def _configs(archive: Archive) -> dict[str, str]:
    """Returns model name -> name of the record with its table of weights."""
    result = {}
    for name in archive.records:
        folder, middle, last = name.partition(_FOLDER)
        if middle and "/" not in folder and "/" not in last and last.endswith(_SUFFIX):
            result[last.removesuffix(_SUFFIX)] = name
    return result


def _read_old(archive: Archive, load: Callable[[Blob], Loaded]) -> Structure:
    record = next((archive.records[name] for name in _OLD_WEIGHTS if name in archive.records), None)
    if record is None or not record.size:
        raise damaged("its weights are missing")
    if record.packed != record.size:
        raise RefusalError("its weights are compressed", "save it again with torch.export.save")
    blob = archive.blob
    inside = load(blob.part(archive.data_offset(record), record.size))
    return assemble(Loaded(inside.value, blob.path, FORMAT), "")


def _tensor(archive: Archive, folder: str, name: str, entry: Any) -> Tensor:
    """Returns the tensor that an entry of the table describes. Refuses one beyond its record."""
    try:
        meta = entry["tensor_meta"]
        dtype = _DTYPES[meta["dtype"]]
        size = [part["as_int"] for part in meta["sizes"]]
        stride = [part["as_int"] for part in meta["strides"]]
        offset = meta["storage_offset"]["as_int"]
        path, pickled, layout = entry["path_name"], entry["use_pickle"], meta["layout"]
        record = archive.records[f"{folder}/{path}"]
    except (KeyError, TypeError, RecursionError):
        raise damaged(f"its table describes the weight {name!r} in an unknown form") from None
    if pickled is not False or layout != _STRIDED:
        return Tensor(dtype, shape(size))
    numel = int(record.size // ITEM_SIZES[dtype])
    return dense(Storage(dtype, record.name, numel), offset, size, stride, dtype, plain=True)
