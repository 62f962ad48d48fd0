"""Calls the real ``load_state_dict`` of a definition once, and notes what torch reports."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import EXTRA_STATE, OBJECT, PLAIN_DTYPES, Structure
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.build import build_real
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.empty_state import with_metadata
from pytest_ckpt_compat._definition.entries import loadable, registered, saves_with_hooks
from pytest_ckpt_compat._definition.find import Definition, RemapError, brief
from pytest_ckpt_compat._definition.prepare import prepared
from pytest_ckpt_compat._definition.reached import Entries, reached_nothing
from pytest_ckpt_compat._definition.remap import Remapped, remapped
from pytest_ckpt_compat._definition.surroundings import untouched_globals
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
        nothing: whether the load raised nothing and yet brought no tensor of the checkpoint into any
            tensor of the definition, although both have some.
        read_weights: whether the load needed the real weights.
        unconfirmed: why the outcome could not be confirmed with real tensors, or "".
        unsaved: why the definition itself can save no checkpoint, or "".
        remapped: what the project's remap made of the checkpoint, or None if there is none.
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
    nothing: bool = False
    read_weights: bool = False
    unconfirmed: str = ""
    unsaved: str = ""
    remapped: Remapped | None = None


@dataclass(frozen=True)
class Attempt:
    """One load.

    Attributes:
        outcome: as torch reported it.
        wants_numbers: whether it may have failed only because it needs numbers.
        refused: whether an operator raised.
        read: whether loading code read real numbers that came from the checkpoint.
        doubts: what loading code asked tensors.
    """

    outcome: Outcome
    wants_numbers: bool
    refused: bool
    read: bool
    doubts: Doubts


def require_objects(structure: Structure, outcome: Outcome) -> None:
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
    state = prepared(definition, module, with_metadata(read_weights(structure), structure), structure)[0]
    _call_load(module, state, strict, structure)
    return module


def attempt(
    module: nn.Module,
    state: Mapping[str, Any],
    structure: Structure,
    definition: Definition,
    strict: bool,
) -> Attempt:
    """Loads a state_dict with the module's own ``load_state_dict``.

    The load changes ``module``, so use each built module once.

    Args:
        module: a newly built module.
        state: tensors as the checkpoint has them, on the module's device.
        structure: the structure of the checkpoint.
        definition: the definition of ``module``.
        strict: as in ``load_state_dict``.
    """
    # No hook of the user's on saving may change the module before or after the load.
    silent = saves_with_hooks(module)
    entries, unsaved = (registered(module), "") if silent else loadable(module, definition)[1:]
    before = {key: storage_of(value) for key, value in entries.items()}
    users = _has_loading_code(module) or definition.remap is not None or lightning.has_hook(module)
    recorder, whole = _Recorder(module), state
    raised: BaseException | None = None
    done: Remapped | None = None
    unapplied: tuple[str, ...] = ()
    with untouched_globals(), warnings.catch_warnings(), watch_operators(state, users) as watched:
        # BatchNorm adds a real number that old checkpoints lack. Copying it to meta is a harmless no-op.
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        try:
            given, name = prepared(definition, module, state, structure)
            if name:
                done = remapped(name, structure, state, given, watched)
                structure, state = done.structure, given
            unapplied = _shield_extra_state(module, structure)
            _call_load(module, state, strict, structure)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raised = error
    own, complete = _messages(raised, recorder.messages)
    after: Mapping[str, Any] = {}
    if raised is None:
        after = registered(module) if silent else loadable(module, definition)[1]
    untouched = _untouched(before, after, watched.written)
    missing = {*recorder.missing, *(key for key in untouched if _filled_by_torch(key, structure))}
    around = Entries(before, after, recorder.missing, recorder.unexpected)
    outcome = Outcome(
        raised=raised is not None,
        strict=any(m.startswith(_LISTS) for m in recorder.messages) or (strict and not complete),
        complete=complete,
        missing=recorder.missing,
        unexpected=recorder.unexpected,
        mismatched=_mismatches(recorder.messages),
        errors=tuple(own),
        untouched=tuple(key for key in untouched if key not in missing),
        unapplied=unapplied,
        nothing=raised is None and reached_nothing(module, around, state or whole, watched),
        unsaved=unsaved,
        remapped=done,
    )
    cause = (raised.__cause__ or raised) if isinstance(raised, RemapError) else raised
    wants_numbers = watched.refused or watched.doubts.asked or _wants_numbers(cause, own)
    read = watched.numbers or any(storage_of(tensor) in watched.derived for tensor in watched.doubts.read)
    return Attempt(outcome, wants_numbers, watched.refused, read, watched.doubts)


def _messages(raised: BaseException | None, messages: tuple[str, ...]) -> tuple[list[str], bool]:
    """Returns the errors that no other field of an outcome has, and whether torch's lists are complete."""
    if isinstance(raised, RemapError):
        return [str(raised)], True  # no load began
    own = [m for m in messages if not m.startswith(_LISTS) and not _MISMATCH.fullmatch(m)]
    complete = raised is None or words(raised).startswith(_REPORT)
    if raised is not None and not (complete and messages):
        own.append(brief(raised))
    return own, complete


def _untouched(
    before: Mapping[str, int | None], after: Mapping[str, Any], written: Container[int]
) -> list[str]:
    """The keys whose storage is the same before and after a load, and was not written to."""
    return [
        key
        for key, storage in ((key, storage_of(value)) for key, value in after.items())
        if storage is not None and storage == before.get(key) and storage not in written
    ]


#: The methods that a load calls.
_LOADING = ("load_state_dict", "_load_from_state_dict", "set_extra_state", "__setattr__", "__setstate__")


def _has_loading_code(module: nn.Module) -> bool:
    """Whether a load may run code that is not torch's: an overridden method, or a hook."""
    kinds = {type(part): part for part in module.modules()}
    methods = (getattr(kind, name, None) for kind in kinds for name in _LOADING)
    if not all(getattr(each, "__module__", "torch").split(".")[0] == "torch" for each in methods if each):
        return True
    hooks = ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", *_LOADING)
    return any(part.__dict__.get(name) for part in module.modules() for name in hooks)


def _filled_by_torch(key: str, structure: Structure) -> bool:
    """Whether torch itself fills in a counter that files of its first versions lack."""
    module, _, name = key.rpartition(".")
    version = (structure.versions or {}).get(module, 1)
    return name == "num_batches_tracked" and key not in structure.tensors and version == 1


def _call_load(module: nn.Module, state: Mapping[str, Any], strict: bool, structure: Structure) -> None:
    """Calls ``load_state_dict``, with ``strict`` unless an override does not take it."""
    if lightning.is_lightning(type(module)) and lightning.is_checkpoint(structure):
        strict = lightning.strictness(module, strict)
    parameters = inspect.signature(module.load_state_dict).parameters.values()
    takes_strict = any(p.name == "strict" or p.kind is p.VAR_KEYWORD for p in parameters)
    module.load_state_dict(state, **({"strict": strict} if takes_strict else {}))


def fits_on_meta(structure: Structure, module: nn.Module) -> bool:
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


def _wants_numbers(error: BaseException | None, messages: list[str]) -> bool:
    """Whether a load may have failed only because meta tensors have no numbers.

    Torch usually mentions meta tensors in the message. Formatting or iterating one is a plain
    TypeError. Errors such as KeyError come from the loading code itself.
    """
    if any("meta tensor" in message.lower() for message in messages):
        return True
    return isinstance(error, (RuntimeError, TypeError, ValueError)) and not words(error).startswith(_REPORT)


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
