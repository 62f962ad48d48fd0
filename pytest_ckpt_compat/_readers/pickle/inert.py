"""The values that a pickle is read as: plain Python values, and inert records for everything else.

No record can be called, and none ever becomes the object that the pickle describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Global:
    """A class or function that the pickle names. It is never imported.

    Attributes:
        module: dotted name of its module, in the Python 3 spelling.
        name: qualified name in that module.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Made:
    """The object that a call would have returned. The call never happens.

    Attributes:
        maker: the class or function that would have been called.
        args: the arguments of the call.
        state: what ``__setstate__`` would have received, or None.
        entries: what item assignment would have added, or None.
        elements: what ``append`` or ``add`` would have added, or None.
    """

    maker: Any
    args: tuple[Any, ...]
    state: Any = None
    entries: dict[Any, Any] | None = None
    elements: list[Any] | None = None


class OrderedMapping(dict[Any, Any]):
    """A ``collections.OrderedDict``; ``state`` holds its attributes, ``_metadata`` among them."""

    state: Any = None


@dataclass(slots=True, eq=False)
class Storage:
    """A typed range of bytes in a record of the file.

    Attributes:
        dtype: dtype name of its elements; ``uint8`` for an untyped storage.
        record: name of the record that holds the bytes; "" for the file itself.
        numel: number of elements.
        start: offset of the first element in the record, in bytes.
    """

    dtype: str
    record: str
    numel: int
    start: int = 0


@dataclass(slots=True, eq=False)
class Tensor:
    """A tensor, and the location of its data if one storage holds it.

    Attributes:
        dtype: dtype name.
        size: its shape.
        storage: the storage it views, or None (sparse, meta, a wrapper of other tensors).
        offset: offset of its first element in the storage, in elements.
        stride: step of each dimension, in elements.
        plain: whether its bytes alone determine it (not quantized, not conjugated).
        kind: ``dense``, ``quantized``, ``sparse``, ``subclass`` (a wrapper of other tensors).
        parts: what else determines it, by name: a scale, indices, the wrapped tensors.
    """

    dtype: str
    size: tuple[int, ...]
    storage: Storage | None = None
    offset: int = 0
    stride: tuple[int, ...] = ()
    plain: bool = False
    kind: str = "dense"
    parts: dict[Any, Any] | None = None

    @property
    def element(self) -> str:
        """The dtype of its elements, without the scheme of its quantization."""
        return self.storage.dtype if self.kind == "quantized" and self.storage else self.dtype


@dataclass(slots=True, eq=False)
class Skipped:
    """The placeholder of text or bytes too long to keep: ``str`` or ``bytes``, and its length in bytes."""

    kind: str
    length: int
