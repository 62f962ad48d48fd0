"""What a checkpoint or a model definition is made of: names, shapes and dtypes, never weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

#: dtype name -> bytes per element (a fraction where several elements share a byte). The names are
#: torch's own, without ``torch.``.
ITEM_SIZES: Mapping[str, float] = MappingProxyType(
    {
        "bool": 1,
        "uint8": 1,
        "uint16": 2,
        "uint32": 4,
        "uint64": 8,
        "int8": 1,
        "int16": 2,
        "int32": 4,
        "int64": 8,
        "float16": 2,
        "bfloat16": 2,
        "float32": 4,
        "float64": 8,
        "complex32": 4,
        "complex64": 8,
        "complex128": 16,
        "float8_e4m3fn": 1,
        "float8_e4m3fnuz": 1,
        "float8_e5m2": 1,
        "float8_e5m2fnuz": 1,
        "float8_e8m0fnu": 1,
        "float4_e2m1fn_x2": 1,
        "qint8": 1,
        "quint8": 1,
        "qint32": 4,
        "quint4x2": 0.5,
        "quint2x4": 0.25,
    }
)

#: Those of ordinary dense tensors. Others (quantized, ``sparse_coo_float32``) have rules of their own.
PLAIN_DTYPES = frozenset(name for name in ITEM_SIZES if not name.startswith("q")) | {"object"}

#: dtype of a state_dict entry that is not a tensor (what ``get_extra_state`` returned, say).
OBJECT = "object"

#: Last segment of the key under which torch keeps what ``get_extra_state`` returned.
EXTRA_STATE = "_extra_state"

_SPEC = re.compile(r"(?P<dtype>[A-Za-z_][A-Za-z0-9_.]*)\[(?P<shape>(?:\d+(?:, ?\d+)*)?)\]")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The dtype and the shape of one tensor.

    Attributes:
        dtype: torch's name without ``torch.`` (``float32``, ``bfloat16``), or ``object`` for an
            entry that is not a tensor.
        shape: the size of each dimension, outermost first; ``()`` for a scalar.
    """

    dtype: str
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        """``float32[16, 3, 3, 3]``, ``int64[]``, or ``object``."""
        return OBJECT if self.dtype == OBJECT else f"{self.dtype}{list(self.shape)}"

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """The inverse of ``str``. Raises ValueError for anything else."""
        if text == OBJECT:
            return cls(OBJECT)
        match = _SPEC.fullmatch(text)
        if match is None:
            raise ValueError(f"not a tensor specification: {text!r}")
        sizes = match["shape"]
        return cls(match["dtype"], tuple(int(n) for n in sizes.split(",")) if sizes else ())

    @property
    def numel(self) -> int:
        """How many elements the tensor has."""
        return 0 if self.dtype == OBJECT else math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take; 0 for a dtype of unknown size."""
        return math.ceil(self.numel * ITEM_SIZES.get(self.dtype, 0))


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of a tensor lie, for a later load. Reading a structure reads none of them.

    Two keys with equal locations share one tensor.

    Attributes:
        file: path of the file.
        record: name of the zip member that holds the storage, or "" for a plain file.
        offset: bytes from the start of the record (or file) to the first element.
        stride: step of each dimension, in elements.
    """

    file: str
    record: str
    offset: int
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a structure came from. Never part of a comparison or a digest.

    Attributes:
        path: the file, or the definition (``models.Classifier``), as a person would write it.
        format: ``torch zip``, ``safetensors``, ``fingerprint``, ``definition``, ...
        container: dotted path of the state_dict inside the file (``state_dict``); "" at the top.
    """

    path: str = ""
    format: str = ""
    container: str = ""


@dataclass(frozen=True)
class OptimizerState:
    """What the saved state of an optimizer says about the parameters it belongs to.

    Attributes:
        groups: the numbers (or names) of the parameters in each group, in order; ``()`` where the
            format keeps them apart from the header.
        states: parameter number or name -> name of the value (``exp_avg``, ``step``) -> its spec.
            A parameter that was never updated has none.
        options: the settings of each group (``lr``, ``betas``, ``param_names``) as plain data.
        values: parameter number or name -> name -> plain value, of what is not a tensor in a state.
        unread: names of settings that have no plain form, in whichever group.
        opaque: names of the parts of states that are neither tensors nor plain.
    """

    groups: tuple[tuple[int | str, ...], ...]
    states: Mapping[int | str, Mapping[str, TensorSpec]] = field(default_factory=dict)
    options: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    values: Mapping[int | str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    unread: tuple[str, ...] = field(default=(), compare=False)
    opaque: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Makes the mappings read-only."""
        for name in ("states", "values"):
            fixed = {each: MappingProxyType(dict(fields)) for each, fields in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(fixed))
        object.__setattr__(self, "options", tuple(MappingProxyType(dict(each)) for each in self.options))

    def __hash__(self) -> int:
        """Agrees with equality."""
        return hash((self.groups, frozenset(self.states)))


@dataclass(frozen=True)
class Structure:
    """The names, shapes and dtypes of a state_dict, in order.

    Attributes:
        tensors: key -> spec, in state_dict order.
        aliases: groups of keys that share one tensor (tied weights); each group, and the groups,
            in state_dict order.
        versions: module name -> version, as ``state_dict()._metadata`` has it. Versions of 1,
            which nearly every module has, are left out; None where the source keeps no
            ``_metadata`` at all (safetensors), which torch treats differently from version 1.
        source: where it came from.
        values: the checkpoint's other, non-tensor values (hyper-parameters, epoch, ...) as plain
            data.
        objects: key -> value of the entries that are not tensors, where it is plain data.
        locations: key -> where its bytes lie, where a later load is possible.
        views: groups of keys whose tensors lie in one storage without being one tensor; ``locations``
            tells their offsets and strides.
        optimizers: dotted path in the file (``optimizer``) -> the optimizer state there.
    """

    tensors: Mapping[str, TensorSpec]
    aliases: tuple[tuple[str, ...], ...] = ()
    versions: Mapping[str, int] | None = None
    source: Source = field(default=Source(), compare=False)
    values: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    locations: Mapping[str, Location] = field(default_factory=dict, compare=False, repr=False)
    views: tuple[tuple[str, ...], ...] = field(default=(), compare=False, repr=False)
    optimizers: Mapping[str, OptimizerState] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Makes the mappings read-only."""
        for name in ("tensors", "versions", "values", "objects", "locations", "optimizers"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, MappingProxyType(dict(value)))

    def __hash__(self) -> int:
        """Agrees with equality; the order of keys counts in the digest, not here."""
        return hash((frozenset(self.tensors.items()), self.aliases))


def alias_groups(identities: Mapping[str, object]) -> tuple[tuple[str, ...], ...]:
    """Groups of keys with equal identity, groups of one left out, in the order of the mapping."""
    groups: dict[object, list[str]] = {}
    for key, identity in identities.items():
        groups.setdefault(identity, []).append(key)
    return tuple(tuple(keys) for keys in groups.values() if len(keys) > 1)
