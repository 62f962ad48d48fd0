"""Calls the real ``load_state_dict`` of a definition, with meta tensors of a checkpoint's shapes."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import NoBaselineError, ReadError
from pytest_ckpt_compat._core.structure import EXTRA_STATE, OBJECT, PLAIN_DTYPES, Structure
from pytest_ckpt_compat._definition.build import (
    build_real,
    entries_of,
    untouched_globals,
)
from pytest_ckpt_compat._definition.empty_state import empty_state, with_metadata
from pytest_ckpt_compat._definition.find import Definition, brief
from pytest_ckpt_compat._definition.watch import storage_of, watch_operators
from pytest_ckpt_compat._definition.weights import read_weights

if TYPE_CHECKING:
    from torch import nn

_MISMATCH = re.compile(
    r"size mismatch for (?P<key>.+): copying a param with shape (?P<old>.+) from checkpoint, "
    r"the shape in current model is (?P<new>.+)\.",
    re.DOTALL,
)
_SIZES = re.compile(r"\[([\d, ]*)\]")
#: Start of the error that ``load_state_dict`` raises after it has visited every module.
_REPORT = "Error(s) in loading state_dict for "
#: Start of the messages that ``strict=True`` adds. Their keys are also in torch's lists.
_LISTS = ("Missing key(s) in state_dict: ", "Unexpected key(s) in state_dict: ")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """The result of a load, as torch reported it.

    Attributes:
        raised: whether ``load_state_dict`` raised, which decides the verdict.
        missing: torch's list of missing keys.
        unexpected: torch's list of unexpected keys.
        mismatched: key -> (shape in the checkpoint, shape in the model).
        errors: all other reasons why the load raised, one line each.
        untouched: keys of the definition that the load did not write to, although torch does not
            report them as missing.
        unapplied: keys of extra state that ``set_extra_state`` did not receive, because the structure
            does not have the value.
        strict: whether missing and unexpected keys made the load raise. An override of
            ``load_state_dict`` may ignore ``strict=True``.
        complete: whether torch visited every module. If not, its lists are incomplete.
        read_weights: whether the load needed the real weights.
    """

    raised: bool
    strict: bool = False
    complete: bool = True
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    unapplied: tuple[str, ...] = ()
    read_weights: bool = False


def try_load(module: nn.Module, structure: Structure, definition: Definition, strict: bool = True) -> Outcome:
    """Loads meta tensors of ``structure``'s shapes with the module's own ``load_state_dict``.

    The load changes ``module``, so use each built module once. A load that needs numbers (a hook that
    calls ``.item()``) is repeated with the real weights in a really built module.

    Args:
        module: a module from ``build``.
        structure: the structure of the checkpoint.
        definition: the definition of ``module``.
        strict: as in ``load_state_dict``.

    Raises:
        NoBaselineError: the load needs numbers, and the weights are not available.
        ReadError: the load needs an object that readers do not support.
    """
    outcome = _find_outcome(module, structure, definition, strict)
    if not outcome.complete:
        _require_objects(structure, outcome)
    return outcome


def _find_outcome(module: nn.Module, structure: Structure, definition: Definition, strict: bool) -> Outcome:
    if not _fits_on_meta(structure, module):
        # Quantized and sparse tensors do not exist on meta, and have copy rules of their own.
        real, state = build_real(definition, structure.values), empty_state(structure, "cpu")
        return _attempt(real, state, structure, definition, strict)[0]
    outcome, needs_numbers = _attempt(module, empty_state(structure, "meta"), structure, definition, strict)
    if not needs_numbers:
        return outcome
    tensors = (key for key, spec in structure.tensors.items() if spec.dtype != OBJECT)
    if any(key not in structure.locations for key in tensors):
        raise NoBaselineError(
            structure.source.path or definition.label,
            f"loading it into {definition.label} reads the values of tensors ({'; '.join(outcome.errors)})",
            "check against the checkpoint file itself, not a snapshot",
        )
    real = build_real(definition, structure.values)
    state = with_metadata(read_weights(structure), structure)
    outcome, _ = _attempt(real, state, structure, definition, strict)
    return replace(outcome, read_weights=True)


def _require_objects(structure: Structure, outcome: Outcome) -> None:
    """Raises ReadError if the load may have failed because an object's value is not available."""
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT and key not in structure.objects and key not in outcome.unapplied:
            raise ReadError(
                structure.source.path,
                f"{key} is an object whose class is not read, but the load needs it ({outcome.errors[0]})",
                "save tensors and plain values instead",
            )


def load_weights(definition: Definition, structure: Structure, strict: bool = True) -> nn.Module:
    """Builds a real module and loads the checkpoint's real weights.

    Raises:
        BuildError: the constructor raises.
        ReadError: a tensor's data cannot be read.
        RuntimeError: torch's error, if the load fails.
    """
    module = build_real(definition, structure.values)
    _call_load(module, with_metadata(read_weights(structure), structure), strict)
    return module


def _attempt(
    module: nn.Module,
    state: Mapping[str, Any],
    structure: Structure,
    definition: Definition,
    strict: bool,
) -> tuple[Outcome, bool]:
    """Loads once. Returns the outcome, and whether the load may have failed only because it needs numbers."""
    entries = entries_of(module, definition)
    before = {key: storage_of(value) for key, value in entries.items()}
    recorder = _Recorder(module)
    unapplied = _shield_extra_state(module, structure)
    raised: Exception | None = None
    with untouched_globals(), warnings.catch_warnings(), watch_operators() as watched:
        # BatchNorm adds a real number that old checkpoints lack. Copying it to meta is a harmless no-op.
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        try:
            _call_load(module, state, strict)
        except Exception as error:
            raised = error
    messages = recorder.messages
    own = [m for m in messages if not m.startswith(_LISTS) and not _MISMATCH.fullmatch(m)]
    complete = raised is None or str(raised).startswith(_REPORT)
    if raised is not None and not (complete and messages):
        own.append(brief(raised))
    after = {} if raised else {k: storage_of(v) for k, v in entries_of(module, definition).items()}
    untouched = [
        key
        for key, storage in after.items()
        if storage is not None and storage == before.get(key) and storage not in watched.written
    ]
    outcome = Outcome(
        raised=raised is not None,
        strict=any(m.startswith(_LISTS) for m in messages) or (strict and not complete),
        complete=complete,
        missing=recorder.missing,
        unexpected=recorder.unexpected,
        mismatched=_mismatches(messages),
        errors=tuple(own),
        untouched=tuple(key for key in untouched if key not in set(recorder.missing)),
        unapplied=unapplied,
    )
    return outcome, watched.refused or _wants_numbers(raised, own)


def _call_load(module: nn.Module, state: Mapping[str, Any], strict: bool) -> None:
    """Calls ``load_state_dict``, with ``strict`` unless an override does not take it."""
    parameters = inspect.signature(module.load_state_dict).parameters.values()
    takes_strict = any(p.name == "strict" or p.kind is p.VAR_KEYWORD for p in parameters)
    module.load_state_dict(state, **({"strict": strict} if takes_strict else {}))


def _fits_on_meta(structure: Structure, module: nn.Module) -> bool:
    """Whether the meta device supports every tensor of both sides."""
    tensors = (*module.parameters(), *module.buffers())
    plain = all(spec.dtype in PLAIN_DTYPES for spec in structure.tensors.values())
    return plain and all(tensor.is_meta for tensor in tensors)


class _Recorder:
    """Keeps the lists that ``load_state_dict`` fills, whichever module's method runs."""

    def __init__(self, module: nn.Module) -> None:
        self._lists: dict[int, tuple[list[str], list[str], list[str]]] = {}
        from torch.jit import ScriptModule

        for part in module.modules():
            if not isinstance(part, ScriptModule):  # does not accept hooks
                part._register_load_state_dict_pre_hook(self._note)  # type: ignore[no-untyped-call]

    def _note(self, _state: Any, _prefix: Any, _meta: Any, _strict: Any, *lists: list[str]) -> None:
        missing, unexpected, messages = lists
        self._lists[id(missing)] = (missing, unexpected, messages)

    def _all(self, which: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for lists in self._lists.values() for key in lists[which]))

    @property
    def missing(self) -> tuple[str, ...]:
        return self._all(0)

    @property
    def unexpected(self) -> tuple[str, ...]:
        return self._all(1)

    @property
    def messages(self) -> tuple[str, ...]:
        return self._all(2)


def _mismatches(messages: tuple[str, ...]) -> dict[str, tuple[Shape, Shape]]:
    found = (_MISMATCH.fullmatch(message) for message in messages)
    return {match["key"]: (_shape(match["old"]), _shape(match["new"])) for match in found if match}


def _shape(text: str) -> Shape:
    """``torch.Size([16, 3])`` -> (16, 3)."""
    match = _SIZES.search(text)
    return tuple(int(n) for n in match[1].split(",") if n.strip()) if match else ()


def _wants_numbers(error: Exception | None, messages: list[str]) -> bool:
    """Whether a load may have failed only because meta tensors have no numbers.

    Torch usually mentions meta tensors in the message. Formatting or iterating one is a plain
    TypeError. Errors such as KeyError come from the loading code itself.
    """
    if any("meta tensor" in message.lower() for message in messages):
        return True
    return isinstance(error, (RuntimeError, TypeError, ValueError)) and not str(error).startswith(_REPORT)


def _shield_extra_state(module: nn.Module, structure: Structure) -> tuple[str, ...]:
    """Disables ``set_extra_state`` for values that the structure does not have. Returns their keys."""
    shielded = []
    for name, part in module.named_modules():
        key = f"{name}.{EXTRA_STATE}" if name else EXTRA_STATE
        spec = structure.tensors.get(key)
        if spec is not None and spec.dtype == OBJECT and key not in structure.objects:
            object.__setattr__(part, "set_extra_state", lambda _state: None)
            shielded.append(key)
    return tuple(shielded)
