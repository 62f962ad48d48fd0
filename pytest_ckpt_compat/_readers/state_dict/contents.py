"""The parts of tensors that more than one storage makes up, and the tensors inside objects.

Objects are the entries of a state_dict that are no tensors: the packed parameters of a quantized
layer are a tuple of two tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.contents import Content, Named
from pytest_ckpt_compat._core.structure import ITEM_SIZES, Location, TensorSpec
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.pickle.inert import Global, Tensor

_SIMPLE = frozenset({type(None), bool, int, float, complex, str, bytes})
_DTYPE = re.compile(r"q?u?int\d+(x\d)?|b?float\d+\w*|complex\d+|bool")
#: Keys of torch's quantized layers, which torch packs anew: their numbers do not decide whether it can.
_PACKED = ("_packed_params", "_packed_weight")


#: Kinds of tensors that have no elements of their own in the file.
_PARTS_ONLY = frozenset({"sparse", "subclass", "number"})


class _NoPlainFormError(Exception):
    """A value holds an object of a class."""


class Converter:
    """Converts the inert values of one file, each once, however many others hold it.

    Args:
        path: the path of the file.
        locatable: whether a later load can read its tensors.
    """

    def __init__(self, path: str, locatable: bool) -> None:
        self._path = path
        self._locatable = locatable
        self._known: dict[int, Any] = {}
        self._read: dict[int, bool] = {}
        self._converted = 0

    def contents(self, tensors: Mapping[str, Tensor]) -> dict[str, Content]:
        """Key -> content of the tensors that their dtype and shape do not determine."""
        return {name: self._convert(tensor, 0) for name, tensor in tensors.items() if tensor.kind != "dense"}

    def objects(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """The entries that are no tensors and have a plain form, with their tensors as contents."""
        found = {}
        for key, value in entries.items():
            try:
                converted = self._convert(value, 0)
            except _NoPlainFormError:
                continue
            if key.endswith(_PACKED) or self._readable(converted):
                found[key] = converted
        return found

    def location(self, tensor: Tensor) -> Location | None:
        """The location of a tensor's elements; None if it has none, or a later load cannot read them."""
        storage, item = tensor.storage, ITEM_SIZES.get(tensor.element, 0)
        complete = tensor.plain or tensor.kind == "quantized"
        if storage is None or not self._locatable or not complete or not item:
            return None
        begin = storage.start + int(tensor.offset * item)
        whole = storage.start, math.ceil(storage.numel * ITEM_SIZES.get(storage.dtype, 0))
        return Location(self._path, storage.record, begin, tensor.stride, whole)

    def _tensor(self, tensor: Tensor, depth: int) -> Content:
        kind = tensor.kind
        parts: dict[str, Any] = {}
        try:
            for name, part in (tensor.parts or {}).items():
                if type(name) is not str:
                    raise _NoPlainFormError
                parts[name] = self._convert(part, depth + 1)
        except _NoPlainFormError:
            kind, parts = "unknown", {}
        spec, location = TensorSpec(tensor.dtype, tensor.size), self.location(tensor)
        located = location is not None or kind in _PARTS_ONLY or not spec.numel
        readable = kind != "unknown" and located and all(map(self._readable, parts.values()))
        return Content(spec, kind, parts, location, readable)

    def _convert(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _SIMPLE:
            return value
        if kind is Global and value.module == "torch" and _DTYPE.fullmatch(value.name):
            return Named(value.name)
        if id(value) in self._known:
            known = self._known[id(value)]
            if known is _NoPlainFormError:
                raise _NoPlainFormError
            return known
        self._converted += 1
        self._known[id(value)] = _NoPlainFormError  # the answer for a value inside itself
        if depth > limits.DEPTH or (self._converted > limits.VALUES and depth):
            raise _NoPlainFormError
        made = self._collection(value, depth)
        self._known[id(value)] = made
        return made

    def _collection(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is Tensor:
            return self._tensor(value, depth)
        if kind is tuple:
            return tuple([self._convert(item, depth + 1) for item in value])
        if kind is list:
            return [self._convert(item, depth + 1) for item in value]
        if kind is dict and all(type(name) in _SIMPLE for name in value):
            return {name: self._convert(item, depth + 1) for name, item in value.items()}
        raise _NoPlainFormError

    def _readable(self, value: Any) -> bool:
        """Whether the numbers of all tensors in a converted value can be read."""
        if isinstance(value, Content):
            return value.readable
        if not isinstance(value, (tuple, list, dict)):
            return True
        if id(value) not in self._read:
            items = value.values() if isinstance(value, dict) else value
            self._read[id(value)] = all(map(self._readable, items))
        return self._read[id(value)]
