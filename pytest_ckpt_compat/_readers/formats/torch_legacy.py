"""Files of ``torch.save`` before torch 1.6: a sequence of pickles, then the data.

The pickles are a magic number, a version, facts about the machine, the object, and the list of
storage names. Each storage follows: its number of elements in eight bytes, and its data. Written
after ``torch.serialization._legacy_save`` and ``_legacy_load`` of torch 2.13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pytest_ckpt_compat._core.structure import ITEM_SIZES
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import BrokenOffError, Budget, damaged, over_limit
from pytest_ckpt_compat._readers.pickle.asked import Asked
from pytest_ckpt_compat._readers.pickle.inert import Storage
from pytest_ckpt_compat._readers.pickle.interpreter import interpret
from pytest_ckpt_compat._readers.pickle.storages import NoStorages, StorageTable
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded

FORMAT = "torch legacy"
_MAGIC = 0x1950A86A20F9469CFC6C
_BINARY = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."
_TEXT = b"L%dL\n." % _MAGIC
_PROTOCOL = 1001
_Table = TypeVar("_Table", bound=StorageTable)
#: Bytes of the first read: enough for the pickles of a model with 400 tensors.
_FIRST = 80_000


def looks_like(head: bytes) -> bool:
    """Whether a file begins with the pickled magic number, in any protocol."""
    return (head[:1] == b"\x80" and _BINARY in head[:30]) or head.startswith(_TEXT)


def load_torch_legacy(blob: Blob, budget: Budget) -> Loaded:
    """Reads the whole value in a file of ``torch.save`` before torch 1.6, without the data."""
    pickles = _Pickles(blob, budget)
    magic, version, machine = (pickles.next(NoStorages)[0] for _ in range(3))
    if magic != _MAGIC or version != _PROTOCOL or not isinstance(machine, dict):
        raise damaged("its header is not of a known version of torch.save")
    value, storages = pickles.next(_Storages)
    names, _ = pickles.next(NoStorages)
    _locate_storages(blob, storages, names, pickles.position)
    native = machine.get("little_endian") is True
    if storages.with_source:
        pickles.asked.beyond = pickles.asked.beyond or "the source text of a class"
    return Loaded(value, blob.path, FORMAT, blob.locatable and native, pickles.asked.pickled())


class _Pickles:
    """The pickles at the start of a file, read in growing steps."""

    def __init__(self, blob: Blob, budget: Budget) -> None:
        self._blob = blob
        self._budget = budget
        self._data = blob.head(_FIRST)
        self.position = 0
        self.asked = Asked()

    def next(self, make: Callable[[], _Table]) -> tuple[Any, _Table]:
        """Reads the next pickle: its value, and the storages that it refers to."""
        found = None
        while found is None:
            found = self._try(make())
        return found

    def _try(self, storages: _Table) -> tuple[Any, _Table] | None:
        try:
            value, self.position = interpret(
                self._data, storages.load, self.position, self._budget, self.asked
            )
        except BrokenOffError:
            self._read_more()
            return None
        return value, storages

    def _read_more(self) -> None:
        have = len(self._data)
        if have == self._blob.size:
            raise damaged(f"its pickle breaks off at byte {have:,}")
        if have >= limits.PICKLE_BYTES:
            raise over_limit("bytes in its pickle", limits.PICKLE_BYTES)
        self._data += self._blob.read_at(have, min(3 * have, self._blob.size - have))


class _Storages(StorageTable):
    """Storages that follow the pickles. Their offsets are known once all pickles are read."""

    def __init__(self) -> None:
        super().__init__()
        self.views: dict[tuple[str, str], tuple[Storage, int, Storage]] = {}
        self.with_source = False

    def load(self, saved: Any) -> Any:
        """Returns the storage of ``('storage', class, key, device, numel, view)``, or a module's class."""
        if type(saved) is tuple and len(saved) == 4 and saved[0] == "module":
            self.with_source = True
            return saved[1]
        if type(saved) is not tuple or len(saved) != 6 or saved[0] != "storage":
            raise damaged("its pickle refers to something other than a storage")
        _, kind, name, _, numel, view = saved
        storage = self.storage(kind, name, numel)
        return storage if view is None else self._view(name, storage, view)

    def make(self, dtype: str, name: str, numel: int) -> Storage:
        """Makes a storage whose offset is not known yet."""
        del name
        return Storage(dtype, "", numel)

    def _view(self, name: str, storage: Storage, view: Any) -> Storage:
        """Returns the part of a storage at ``(key, offset, numel)``, as torch before 0.4 wrote it."""
        if type(view) is not tuple or len(view) != 3 or type(view[0]) is not str:
            raise damaged("its pickle describes a view in an unknown way")
        part, offset, numel = view
        if any(type(number) is not int or number < 0 for number in (offset, numel)):
            raise damaged("its pickle describes a view by something other than numbers")
        if offset + numel > storage.numel:
            raise damaged("its pickle describes a view beyond its storage")
        made = Storage(storage.dtype, "", numel)
        base, begin, known = self.views.setdefault((name, part), (storage, offset, made))
        if (base, begin, known.numel) != (storage, offset, numel):
            raise damaged(f"its pickle describes the view {part!r} in two ways")
        return known


def _locate_storages(blob: Blob, storages: _Storages, names: Any, position: int) -> None:
    """Sets the offset of every storage. Refuses a file that they do not fill exactly."""
    if not isinstance(names, list) or any(type(name) is not str for name in names):
        raise damaged("its list of storages is not a list of names")
    if len(set(names)) != len(names) or set(names) != storages.known.keys():
        raise damaged("its list of storages differs from the storages that it uses")
    for name in names:
        storage = storages.known[name]
        if blob.locatable and blob.read_at(position, 8) != storage.numel.to_bytes(8, "little"):
            raise damaged(f"the number of elements of storage {name!r} differs from its pickle's")
        storage.start = position + 8
        position = storage.start + int(storage.numel * ITEM_SIZES[storage.dtype])
    if position != blob.size:
        raise damaged(f"its storages end at byte {position:,}, but the file ends at byte {blob.size:,}")
    for base, offset, view in storages.views.values():
        view.start = base.start + int(offset * ITEM_SIZES[base.dtype])
