"""The dtypes that a pickle names, by a storage class or by ``torch.<dtype>``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pytest_ckpt_compat._readers.limits import damaged
from pytest_ckpt_compat._readers.pickle.inert import Global

#: torch's storage classes -> dtype of their elements.
STORAGES: Mapping[str, str] = MappingProxyType(
    {
        "DoubleStorage": "float64",
        "FloatStorage": "float32",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "LongStorage": "int64",
        "IntStorage": "int32",
        "ShortStorage": "int16",
        "CharStorage": "int8",
        "ByteStorage": "uint8",
        "BoolStorage": "bool",
        "ComplexDoubleStorage": "complex128",
        "ComplexFloatStorage": "complex64",
        "QUInt8Storage": "quint8",
        "QInt8Storage": "qint8",
        "QInt32Storage": "qint32",
        "QUInt4x2Storage": "quint4x2",
        "QUInt2x4Storage": "quint2x4",
        "UntypedStorage": "uint8",
    }
)

_DTYPE_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


def of_storage(kind: Any) -> str:
    """Returns the dtype of a storage class of any module (``torch``, ``torch.cuda``, ...)."""
    if type(kind) is not Global or kind.name not in STORAGES:
        raise damaged(
            f"it has a storage of the unknown type {kind if type(kind) is Global else type(kind).__name__}"
        )
    return STORAGES[kind.name]


def of_global(dtype: Any) -> str:
    """Returns the name of ``torch.<dtype>``. Accepts unknown dtypes: only their size is unknown."""
    if type(dtype) is not Global or dtype.module != "torch" or not _DTYPE_NAME.fullmatch(dtype.name):
        raise damaged(
            f"it has a tensor of the unknown dtype {dtype if type(dtype) is Global else type(dtype).__name__}"
        )
    return dtype.name
