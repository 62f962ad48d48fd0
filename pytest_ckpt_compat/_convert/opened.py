"""Opens a checkpoint to be rewritten: its state_dict, and all that surrounds it. Nothing in it runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.errors import ReadError, UsageError
from pytest_ckpt_compat._core.structure import SNAPSHOT, Structure
from pytest_ckpt_compat._definition.weights import is_readable, read_weights

_SAFETENSORS = ("safetensors", "sharded safetensors")


@dataclass
class Opened:
    """A checkpoint, open.

    Attributes:
        structure: its structure.
        state: key -> value; tensors are mapped from the file.
        whole: what ``torch.load`` gives, or None where the file holds nothing but the state_dict.
        path: the names that lead from ``whole`` to the state_dict.
        mapped: whether the tensors are the file's own memory, which may be given back.
        notes: remarks on how it was opened, a line each.
    """

    structure: Structure
    state: Mapping[str, Any]
    whole: Any = None
    path: tuple[Any, ...] = ()
    mapped: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def opened(structure: Structure) -> Opened:
    """Opens the checkpoint that a structure was read from.

    Raises:
        ReadError: torch does not open it without running code from it, or its numbers cannot be read.
        UsageError: it is a snapshot.
    """
    path = structure.source.path
    if structure.source.format == SNAPSHOT:
        raise UsageError(path, "is a snapshot, which has no weights", "give the checkpoint itself")
    if structure.source.format.startswith("torch"):
        return _by_torch(structure)
    if not Path(path).exists():
        raise UsageError(path, "is not on this machine", "fetch it first")
    if structure.source.format not in _SAFETENSORS or not is_readable(structure):
        raise ReadError(
            path,
            f"is a checkpoint of the format {structure.source.format}, which cannot be rewritten",
            "load it and save it with torch.save or safetensors first",
        )
    values = structure.values if structure.source.format == "safetensors" else {}
    metadata = {name: value for name, value in values.items() if isinstance(value, str)}
    return Opened(structure, read_weights(structure), metadata=metadata)


def _by_torch(structure: Structure) -> Opened:
    import torch

    path = structure.source.path
    mapped = True
    notes: tuple[str, ...] = ()
    try:
        try:
            whole = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            whole, mapped = torch.load(path, map_location="cpu", weights_only=True), False
            notes = ("it is in torch's old format, which is read as a whole into memory",)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ReadError(
            path,
            f"torch.load(weights_only=True) does not open it: {reason}",
            "no code from it is run: save what it holds as tensors and plain values first",
        ) from error
    names = names_at(whole, structure.source.container.split(".") if structure.source.container else [])
    state = whole
    for name in names or ():
        state = state[name]
    if names is None or not isinstance(state, Mapping) or list(state) != list(structure.tensors):
        raise ReadError(path, "its state_dict is not a plain mapping", "save model.state_dict() instead")
    return Opened(structure, state, whole, tuple(names), mapped, notes=notes)


def names_at(value: Any, parts: list[str]) -> list[Any] | None:
    """The names that lead to a dotted path; a name may hold dots, or be a number."""
    if not parts:
        return []
    if not isinstance(value, Mapping):
        return None
    for end in range(1, len(parts) + 1):
        text = ".".join(parts[:end])
        for name in (text, int(text)) if text.isdigit() else (text,):
            if name in value:
                rest = names_at(value[name], parts[end:])
                if rest is not None:
                    return [name, *rest]
    return None


def replaced(whole: Any, path: Sequence[Any], value: Any) -> Any:
    """A copy of nested mappings and lists with another value at a path; all else is shared."""
    if not path:
        return value
    name, *rest = path
    if isinstance(whole, (list, tuple)):
        place = int(name)
        return [replaced(each, rest, value) if i == place else each for i, each in enumerate(whole)]
    copied = type(whole)() if isinstance(whole, OrderedDict) else {}
    for each, inside in whole.items():
        copied[each] = replaced(inside, rest, value) if each == name else inside
    return copied
