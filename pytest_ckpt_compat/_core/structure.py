"""The structure of a checkpoint or a definition: names, shapes and dtypes, never weights."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.migrated import Migrated
    from pytest_ckpt_compat._core.outputs import Outputs
    from pytest_ckpt_compat._core.pickled import Pickled

#: dtype name, as in torch but without ``torch.`` -> bytes per element, a fraction if several elements
#: share a byte.
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

#: dtypes of ordinary dense tensors, and of objects. Quantized and sparse tensors load differently.
PLAIN_DTYPES = frozenset(name for name in ITEM_SIZES if not name.startswith("q")) | {
    "object",
    "uninitialized",
}

#: dtype of a state_dict entry that is not a tensor, such as the return value of ``get_extra_state``.
OBJECT = "object"

#: dtype of a parameter or buffer whose shape the first input decides (``LazyLinear``). It has no numbers.
UNINITIALIZED = "uninitialized"

#: Start of the dtype of a tensor in a file that was saved from the meta device: it has no numbers.
META = "meta_"

#: ``Source.format`` of a structure that a snapshot keeps: the file itself may be absent, or another.
SNAPSHOT = "fingerprint"

#: Last segment of the key under which torch stores the return value of ``get_extra_state``.
EXTRA_STATE = "_extra_state"

_SPEC = re.compile(r"(?P<dtype>[A-Za-z_][A-Za-z0-9_.]*)\[(?P<shape>(?:\d+(?:, ?\d+)*)?)\]")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The dtype and the shape of one tensor.

    Attributes:
        dtype: torch's name without ``torch.`` (``float32``, ``bfloat16``), ``object`` for an
            entry that is not a tensor, or ``uninitialized``.
        shape: the size of each dimension, outermost first; ``()`` for a scalar.
    """

    dtype: str
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        """``float32[16, 3, 3, 3]``, ``int64[]``, ``object``, or ``uninitialized``."""
        return self.dtype if self.dtype in (OBJECT, UNINITIALIZED) else f"{self.dtype}{list(self.shape)}"

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """Parses the output of ``str``. Raises ValueError for anything else."""
        return _parsed(text)

    @property
    def numel(self) -> int:
        """Number of elements; 0 for an object, and for what has no shape yet."""
        return 0 if self.dtype in (OBJECT, UNINITIALIZED) else math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes of its elements; 0 for a dtype of unknown size."""
        return math.ceil(self.numel * ITEM_SIZES.get(self.dtype, 0))


@functools.lru_cache(maxsize=1024)  # the layers of a model have the same few
def _parsed(text: str) -> TensorSpec:
    if text in (OBJECT, UNINITIALIZED):
        return TensorSpec(text)
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ValueError(f"not a tensor specification: {text!r}")
    sizes = match["shape"]
    return TensorSpec(match["dtype"], tuple(int(n) for n in sizes.split(",")) if sizes else ())


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a tensor's data in a file, for a later load. Reading a structure reads no data.

    Two keys with equal locations share one tensor.

    Attributes:
        file: path of the file.
        record: name of the zip record that holds the storage, or "" for a plain file.
        offset: bytes from the start of the record (or file) to the first element.
        stride: stride of each dimension, in elements.
        storage: bytes from the start of the record to the storage that torch loads for it, and the length
            of that; None if the tensor has one of its own.
    """

    file: str
    record: str
    offset: int
    stride: tuple[int, ...]
    storage: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of a structure. Never part of a comparison or a digest.

    Attributes:
        path: the file, or the definition (``models.Classifier``), as a user would write it.
        format: ``torch zip``, ``safetensors``, ``fingerprint``, ``definition``, ...
        container: dotted path of the state_dict inside the file (``state_dict``); "" for the top level.
        others: dotted paths of the other state_dicts in it, if a search chose this one.
        parts: name of each part of a definition that is a mapping of parts -> dotted path of its state_dict
            inside the file; a part that the file lacks is not among them.
        recorded: of a definition as it was, what has it (``commit 1a2b3c4d``, ``package==1.0``), or "".
    """

    path: str = ""
    format: str = ""
    container: str = ""
    others: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    recorded: str = ""


@dataclass(frozen=True)
class OptimizerState:
    """The saved state of an optimizer: its parameters, and the values it keeps for each.

    Attributes:
        groups: the numbers (or names) of the parameters in each group, in order; ``()`` if the format
            stores them outside the header.
        states: parameter number or name -> name of the value (``exp_avg``, ``step``) -> its spec.
            A parameter that was never updated has no entry.
        options: the settings of each group (``lr``, ``betas``, ``param_names``) as plain data.
        values: parameter number or name -> name -> plain value, for values that are not tensors.
        unread: names of the settings, in any group, that have no plain form.
        opaque: names of the values in states that are neither tensors nor plain data.
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
        """Equal states hash alike."""
        return hash((self.groups, frozenset(self.states)))


@dataclass(frozen=True)
class Structure:
    """The names, shapes and dtypes of a state_dict, in order.

    Attributes:
        tensors: key -> spec, in state_dict order.
        aliases: groups of keys that share one tensor (tied weights); each group, and the groups,
            in state_dict order.
        versions: module name -> version, as in ``state_dict()._metadata``, without the usual
            version 1. None if the source has no ``_metadata`` (safetensors), which torch treats
            differently from version 1.
        source: its origin.
        values: the checkpoint's other, non-tensor values (hyper-parameters, epoch, ...) as plain
            data.
        objects: key -> value of the entries that are not tensors but plain data, tensors and dtypes.
        locations: key -> location of its data, for keys that can be loaded later.
        strides: key -> stride of each dimension, in elements, of a tensor that is not contiguous.
        contents: key -> what its tensor is made of, for tensors that dtype and shape do not determine
            (quantized, sparse, a tensor subclass).
        views: groups of keys whose tensors share a storage without being one tensor; ``locations``
            has their offsets and strides.
        identical: groups of aliases that are one object in the file, and in what torch loads from it. Others
            are tensors of their own that share all their numbers, as ``state_dict()`` gives tied weights.
        optimizers: dotted path in the file (``optimizer``) -> the state of an optimizer.
        modules: path of each module of a definition ("" for the outermost), in order of registration,
            containers included -> its class (``torch.nn.Linear``). A module that is used twice has both
            paths. Empty if the classes are not known, as for a checkpoint.
        settings: path of each module whose settings are known -> name of each setting (``eps``) -> its value,
            as Python writes it (``1e-05``).
        lines: dotted name of each module and tensor of a definition that the user's own code gives its name
            -> where (``models/net.py:12``). Empty where it is not known, as for a checkpoint.
        pickled: the classes and functions that the file names, and what else decides whether ``torch.load``
            opens it; None if it is not a file of ``torch.save``, or a snapshot of one that names nothing
            but what every state_dict does.
        outputs: name of what gives the inputs (``tests.inputs:images``) -> what a definition computes with
            them and with values drawn from its keys. Empty if it was not run, as for a checkpoint.
        migrated: of a snapshot, which migrations made the checkpoint load, and where its values went.
        digests: those that were computed, with what they are of.
    """

    tensors: Mapping[str, TensorSpec]
    aliases: tuple[tuple[str, ...], ...] = ()
    versions: Mapping[str, int] | None = None
    source: Source = field(default=Source(), compare=False)
    values: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    locations: Mapping[str, Location] = field(default_factory=dict, compare=False, repr=False)
    strides: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)
    contents: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    views: tuple[tuple[str, ...], ...] = field(default=(), compare=False, repr=False)
    identical: tuple[tuple[str, ...], ...] = field(default=(), compare=False, repr=False)
    optimizers: Mapping[str, OptimizerState] = field(default_factory=dict, compare=False, repr=False)
    modules: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False, repr=False)
    lines: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    pickled: Pickled | None = field(default=None, compare=False, repr=False)
    outputs: Mapping[str, Outputs] = field(default_factory=dict, compare=False, repr=False)
    migrated: Migrated | None = field(default=None, compare=False, repr=False)
    digests: dict[bool, tuple[tuple[object, ...], str]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        """Makes the mappings read-only; what is read-only stays the same object."""
        mappings = (
            "tensors",
            "versions",
            "values",
            "objects",
            "locations",
            "strides",
            "contents",
            "optimizers",
        )
        for name in (*mappings, "modules", "settings", "lines", "outputs"):
            value = getattr(self, name)
            if value is not None and type(value) is not MappingProxyType:
                object.__setattr__(self, name, MappingProxyType(dict(value)))

    def __hash__(self) -> int:
        """Equal structures hash alike, whatever the order of their keys; the digest depends on the order."""
        return hash((frozenset(self.tensors.items()), self.aliases))


def alias_groups(identities: Mapping[str, object]) -> tuple[tuple[str, ...], ...]:
    """Returns the groups of two or more keys with equal identity, in the order of the mapping."""
    if len(set(identities.values())) == len(identities):
        return ()
    groups: dict[object, list[str]] = {}
    for key, identity in identities.items():
        groups.setdefault(identity, []).append(key)
    return tuple(tuple(keys) for keys in groups.values() if len(keys) > 1)


def modules_of(structure: Structure) -> frozenset[str]:
    """The modules that a state_dict shows: those of its keys, their containers, and those with a version."""
    found = {*(structure.versions or ())}
    for key in structure.tensors:
        module = key.rpartition(".")[0]
        while module and module not in found:
            found.add(module)
            module = module.rpartition(".")[0]
    return frozenset(found - {""})
