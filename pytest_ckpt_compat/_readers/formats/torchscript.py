"""TorchScript archives: the parameters and buffers of the module tree in ``data.pkl``.

``torch.jit.save`` writes a module as an object of a class ``__torch__...`` with its attributes. The
first lines of the class's source text, under ``code/``, list the parameters and the buffers. This
reader searches the text for these two lines and never runs it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, damaged, over_limit
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, Tensor
from pytest_ckpt_compat._readers.source.zip_directory import Archive
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded, structure_of
from pytest_ckpt_compat._readers.state_dict.containers import require_top
from pytest_ckpt_compat._readers.state_dict.modules import room_after

FORMAT = "TorchScript"
_CLASS = re.compile(
    r"^class ([^\n(]{1,1000})\(Module\):\n((?:  __(?:parameters|buffers)__ = [^\n]*\n)*)", re.MULTILINE
)
_LIST = re.compile(r"  __(parameters|buffers)__ = \[([^\n]*)\]\n")
_NAME = re.compile(r'"([^"\\]{1,1000})", ')


def read_torchscript(archive: Archive, root: str, loaded: Loaded, key: str | None) -> Structure:
    """Reads the structure of what ``torch.jit.load(path).state_dict()`` returns."""
    require_top(key)
    if not _is_object(loaded.value):
        raise RefusalError("its root is not a TorchScript module", "save a module with torch.jit.save")
    declared = _Declared(archive, root)
    entries: dict[str, Any] = {}
    pending: list[tuple[str, Made, int]] = [("", loaded.value, 0)]
    visited, room = 0, limits.CHARACTERS
    while pending:
        prefix, module, depth = pending.pop()
        visited += 1
        if visited > limits.KEYS or len(pending) > limits.KEYS or len(entries) > limits.KEYS:
            raise over_limit("modules and tensors", limits.KEYS)
        if depth > limits.DEPTH:
            raise over_limit("modules inside each other", limits.DEPTH)
        attributes = module.state
        for name in declared.tensors(str(module.maker)):
            if name not in attributes:
                raise damaged(f"the module {prefix[:-1] or 'at its root'!r} lacks its tensor {name!r}")
            if type(attributes[name]) is Tensor:
                room = room_after(room, prefix, name)
                entries[prefix + name] = attributes[name]
        children = []
        for name, child in attributes.items():
            if type(name) is str and _is_object(child) and declared.is_module(str(child.maker)):
                room = room_after(room, prefix, name)
                children.append((f"{prefix}{name}.", child, depth + 1))
        pending.extend(reversed(children))
    _refuse_frozen(archive, root, entries)
    return structure_of(entries, Loaded(None, loaded.path, FORMAT, loaded.locatable))


def _refuse_frozen(archive: Archive, root: str, entries: Collection[str]) -> None:
    """Refuses a module without tensors that has constants in their place."""
    if not entries and any(name.startswith(f"{root}/constants/") for name in archive.records):
        raise RefusalError(
            "it is a frozen TorchScript module, whose weights are constants without names",
            "give the module as it was before torch.jit.freeze",
        )


def _is_object(value: Any) -> bool:
    """Whether a value is an object of a scripted class, with attributes by name."""
    return (
        type(value) is Made
        and type(value.maker) is Global
        and f"{value.maker.module}.".startswith("__torch__.")
        and not f"{value.maker.module}.".startswith("__torch__.torch.classes.")  # written in C++
        and isinstance(value.state, dict)
    )


class _Declared:
    """The tensors that the classes in an archive's source texts declare. Each text is read once."""

    def __init__(self, archive: Archive, root: str) -> None:
        self._archive = archive
        self._folder = f"{root}/code/"
        self._texts: dict[str, dict[str, list[str]]] = {}
        self._room = limits.JSON_BYTES

    def is_module(self, name: str) -> bool:
        """Whether a class is a module. Other classes (named tuples, script classes) have no state_dict."""
        module, _, bare = name.rpartition(".")
        return bare in self._classes(module)

    def tensors(self, name: str) -> list[str]:
        """Returns the names of a module's parameters, then of its buffers."""
        module, _, bare = name.rpartition(".")
        classes = self._classes(module)
        if bare not in classes:
            raise damaged(f"its source text does not declare the tensors of the module class {name!r}")
        return classes[bare]

    def _classes(self, module: str) -> dict[str, list[str]]:
        if module not in self._texts:
            record = self._archive.records.get(f"{self._folder}{module.replace('.', '/')}.py")
            if record is None:
                raise damaged(f"the source text of {module!r}, which declares its tensors, is missing")
            self._room -= record.size
            if self._room < 0:
                raise over_limit("bytes of source text", limits.JSON_BYTES)
            raw = self._archive.read(record, limits.SOURCE_BYTES)
            self._texts[module] = _classes_of(raw.decode("utf-8", "replace"))
        return self._texts[module]


def _classes_of(text: str) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for found in _CLASS.finditer(text):
        lists = {kind: _NAME.findall(names) for kind, names in _LIST.findall(found[2])}
        result[found[1]] = [*lists.get("parameters", ()), *lists.get("buffers", ())]
    return result
