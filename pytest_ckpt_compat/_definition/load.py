"""The real ``load_state_dict`` of a definition, on meta tensors of a checkpoint's shapes."""

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
from pytest_ckpt_compat._definition.find import Definition, brief
from pytest_ckpt_compat._definition.state import empty_state, with_metadata
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
#: How the error begins that ``load_state_dict`` raises when it has gone through every module.
_REPORT = "Error(s) in loading state_dict for "
#: What strict adds to the messages; the keys are known from the lists themselves.
_LISTS = ("Missing key(s) in state_dict: ", "Unexpected key(s) in state_dict: ")


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """What torch said to a load.

    Attributes:
        raised: whether ``load_state_dict`` raised: the verdict.
        missing: torch's list of missing keys.
        unexpected: torch's list of unexpected keys.
        mismatched: key -> (shape in the checkpoint, shape in the model).
        errors: everything else that made the load raise, a line each.
        untouched: keys of the definition into which the load wrote nothing, though torch does not
            call them missing.
        unapplied: keys of extra state that ``set_extra_state`` was not given, since the value is
            not known here.
        strict: whether missing and unexpected keys were among the reasons to raise. (An override of
            ``load_state_dict`` may be lenient whatever it is told.)
        complete: whether torch went through every module; if not, its lists stop half-way.
        read_weights: whether real weights had to be read.
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
    """Loads meta tensors of ``structure``'s shapes into ``module``, through its own ``load_state_dict``.

    ``module`` is used up: load into each built module once. A load that needs numbers (a hook that
    calls ``.item()``) is repeated with the real weights, in a module built for real.

    Args:
        module: a module as ``build`` gives it.
        structure: what the checkpoint holds.
        definition: where ``module`` comes from.
        strict: as in ``load_state_dict``.

    Raises:
        NoBaselineError: the load needs numbers, and the weights are not at hand.
        ReadError: the load needs an object that is not read.
    """
    outcome = _find_outcome(module, structure, definition, strict)
    if not outcome.complete:
        _require_objects(structure, outcome)
    return outcome


def _find_outcome(module: nn.Module, structure: Structure, definition: Definition, strict: bool) -> Outcome:
    if not _fits_on_meta(structure, module):
        # Quantized and sparse tensors copy by rules of their own, and do not exist on meta.
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
    """A load that failed for want of an object's value says nothing about the checkpoint."""
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT and key not in structure.objects and key not in outcome.unapplied:
            raise ReadError(
                structure.source.path,
                f"{key} is an object whose class is not read, and loading asks for it ({outcome.errors[0]})",
                "save tensors and plain values",
            )


def load_weights(definition: Definition, structure: Structure, strict: bool = True) -> nn.Module:
    """A real module with the checkpoint's real weights loaded.

    Raises:
        BuildError: the constructor raised.
        ReadError: a tensor's bytes cannot be read.
        RuntimeError: torch's own, where the load fails.
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
    """The outcome of one load, and whether it failed only for want of numbers."""
    entries = entries_of(module, definition)
    before = {key: storage_of(value) for key, value in entries.items()}
    recorder = _Recorder(module)
    unapplied = _shield_extra_state(module, structure)
    raised: Exception | None = None
    with untouched_globals(), warnings.catch_warnings(), watch_operators() as watched:
        # BatchNorm fills in a real number where an old checkpoint has none: on meta a no-op, as it may be.
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
    """Passes ``strict`` to overrides that take it."""
    parameters = inspect.signature(module.load_state_dict).parameters.values()
    takes_strict = any(p.name == "strict" or p.kind is p.VAR_KEYWORD for p in parameters)
    module.load_state_dict(state, **({"strict": strict} if takes_strict else {}))


def _fits_on_meta(structure: Structure, module: nn.Module) -> bool:
    """Whether every tensor on either side is one that the meta device can stand in for."""
    tensors = (*module.parameters(), *module.buffers())
    plain = all(spec.dtype in PLAIN_DTYPES for spec in structure.tensors.values())
    return plain and all(tensor.is_meta for tensor in tensors)


class _Recorder:
    """Holds on to the lists that ``load_state_dict`` fills, whichever module's it is that runs."""

    def __init__(self, module: nn.Module) -> None:
        self._lists: dict[int, tuple[list[str], list[str], list[str]]] = {}
        from torch.jit import ScriptModule

        for part in module.modules():
            if not isinstance(part, ScriptModule):  # takes no hooks
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

    Torch mostly says so, in one case or another; formatting or iterating such a tensor is a plain
    TypeError. A KeyError or the like is the loading code's own.
    """
    if any("meta tensor" in message.lower() for message in messages):
        return True
    return isinstance(error, (RuntimeError, TypeError, ValueError)) and not str(error).startswith(_REPORT)


def _shield_extra_state(module: nn.Module, structure: Structure) -> tuple[str, ...]:
    """Keeps ``set_extra_state`` from values that are not known here; returns their keys."""
    shielded = []
    for name, part in module.named_modules():
        key = f"{name}.{EXTRA_STATE}" if name else EXTRA_STATE
        spec = structure.tensors.get(key)
        if spec is not None and spec.dtype == OBJECT and key not in structure.objects:
            object.__setattr__(part, "set_extra_state", lambda _state: None)
            shielded.append(key)
    return tuple(shielded)
