"""The names that files give to dtypes, and torch's names for them."""

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

#: safetensors' dtypes -> torch's; the others have no counterpart in torch.
SAFETENSORS: Mapping[str, str] = MappingProxyType(
    {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "I64": "int64",
        "I32": "int32",
        "I16": "int16",
        "I8": "int8",
        "U64": "uint64",
        "U32": "uint32",
        "U16": "uint16",
        "U8": "uint8",
        "BOOL": "bool",
        "C64": "complex64",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "F8_E4M3FNUZ": "float8_e4m3fnuz",
        "F8_E5M2FNUZ": "float8_e5m2fnuz",
        "F8_E8M0": "float8_e8m0fnu",
        "F4": "float4_e2m1fn_x2",
    }
)

_DTYPE_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


def of_storage(kind: Any) -> str:
    """The dtype of a storage class, whatever module it is said to be in (``torch.cuda``, ...)."""
    if type(kind) is not Global or kind.name not in STORAGES:
        raise damaged(
            f"it has a storage of the unknown type {kind if type(kind) is Global else type(kind).__name__}"
        )
    return STORAGES[kind.name]


def of_global(dtype: Any) -> str:
    """The name of ``torch.<dtype>``. New dtypes pass: only their size is unknown."""
    if type(dtype) is not Global or dtype.module != "torch" or not _DTYPE_NAME.fullmatch(dtype.name):
        raise damaged(
            f"it has a tensor of the unknown dtype {dtype if type(dtype) is Global else type(dtype).__name__}"
        )
    return dtype.name
