"""What a pickle turns into here: plain Python values, and inert records for everything else.

No record can be called, and none ever becomes the object that the pickle meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Global:
    """A class or function that the file names. It is never imported.

    Attributes:
        module: dotted module, in its Python 3 spelling.
        name: qualified name in the module.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Made:
    """The object that a call of a class or function would have given. The call never happens.

    Attributes:
        maker: what would have been called.
        args: with these arguments.
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

    __slots__ = ("state",)

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)
        self.state: Any = None


@dataclass(slots=True, eq=False)
class Storage:
    """A typed stretch of bytes in a record of the file.

    Attributes:
        dtype: dtype name of its elements; ``uint8`` for an untyped storage.
        record: name of the record that holds the bytes; "" for the file itself.
        numel: number of elements.
        start: bytes from the start of the record to the first element.
    """

    dtype: str
    record: str
    numel: int
    start: int = 0


@dataclass(slots=True, eq=False)
class Tensor:
    """A tensor: what it is, and where its bytes lie if they lie in one storage.

    Attributes:
        dtype: dtype name.
        size: the size of each dimension.
        storage: the storage it views, or None (sparse, meta, a wrapper of other tensors).
        offset: elements from the start of the storage.
        stride: step of each dimension, in elements.
        plain: whether the bytes alone make the tensor (not quantized, not conjugated).
    """

    dtype: str
    size: tuple[int, ...]
    storage: Storage | None = None
    offset: int = 0
    stride: tuple[int, ...] = ()
    plain: bool = False


@dataclass(slots=True, eq=False)
class Skipped:
    """A text or byte string too long to keep."""

    kind: str
    length: int
