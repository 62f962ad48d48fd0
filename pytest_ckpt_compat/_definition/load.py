"""Calls the real ``load_state_dict`` of a definition once, and notes what torch reports."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.changes import MEMORY_BUDGET
from pytest_ckpt_compat._core.errors import NoBaselineError, ReadError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import OBJECT, PLAIN_DTYPES, Structure
from pytest_ckpt_compat._definition import from_pretrained, lightning, peft_adapter
from pytest_ckpt_compat._definition.build import build_real
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.empty_state import with_metadata
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.observation import REPORT, Observation, Outcome, quiet_copies
from pytest_ckpt_compat._definition.prepare import prepared
from pytest_ckpt_compat._definition.project_code import RemapError
from pytest_ckpt_compat._definition.remap import Remapped, remapped
from pytest_ckpt_compat._definition.surroundings import untouched_globals
from pytest_ckpt_compat._definition.uncompiled import uncompiled
from pytest_ckpt_compat._definition.versions import COPYING, copies_alone, watch_versions
from pytest_ckpt_compat._definition.walk import Walk, has_own, walk
from pytest_ckpt_compat._definition.watch import storage_of, watch_operators
from pytest_ckpt_compat._definition.weights import read_weights

if TYPE_CHECKING:
    import torch
    from torch import nn


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
    """Raises an error if the load may have failed because an object's value is not available.

    Raises:
        NoBaselineError: a snapshot stands for the checkpoint, which keeps no values.
        ReadError: the object's class is not read.
    """
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT and key not in structure.objects and key not in outcome.unapplied:
            if not structure.contents:
                raise NoBaselineError(
                    structure.source.path,
                    f"the load needs the value of {key}, an object, and a snapshot keeps none",
                    "check against the checkpoint file itself, not a snapshot",
                )
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
    if definition.loader is not None:
        from pytest_ckpt_compat._definition.loader import run_really

        return run_really(definition, definition.loader)
    module = build_real(definition, structure.values)
    if peft_adapter.applies(module, structure, definition):
        return peft_adapter.load_real(module, structure, definition, strict)
    if from_pretrained.applies(module, definition):
        with contextlib.suppress(from_pretrained.NotHereError):
            return from_pretrained.load_real(module, structure, definition, strict, MEMORY_BUDGET)
    state = with_metadata(read_weights(structure), structure)
    _call_load(module, prepared(definition, module, state, structure).state, strict, structure)
    return module


def attempt(
    module: nn.Module,
    state: Mapping[str, Any],
    structure: Structure,
    definition: Definition,
    strict: bool,
    entries: Mapping[str, Any] | None = None,
    walked: Walk | None = None,
) -> Attempt:
    """Loads a state_dict with the module's own ``load_state_dict``.

    The load changes ``module``, so use each built module once.

    Args:
        module: a newly built module.
        state: tensors as the checkpoint has them, on the module's device.
        structure: the structure of the checkpoint.
        definition: the definition of ``module``.
        strict: as in ``load_state_dict``.
        entries: what the load may write to, where that is known.
        walked: the parts of ``module``, where they are known.
    """
    walked, whole = walked or walk(module), state
    parts, tensors = walked.parts, walked.tensors
    users = _has_loading_code(parts) or definition.remap is not None or lightning.has_hook(module)
    simple = not users and copies_alone(parts, tensors, state)
    observation = Observation(
        *(module, structure, definition), entries=entries if simple else None, simple=simple
    )
    raised: BaseException | None = None
    done: Remapped | None = None
    watch = watch_versions(module, tensors, state) if simple else watch_operators(state, users)
    with untouched_globals(), quiet_copies(), uncompiled(), watch as watched:
        try:
            ready = prepared(definition, module, state, structure)
            if ready.name:
                done = remapped(ready.name, structure, state, ready.state, watched)
                done = replace(done, migrated=ready.migrated)
                structure, state = done.structure, ready.state
            observation.begins(structure)
            _call_load(module, state, strict, structure)
        except (KeyboardInterrupt, NoBaselineError):
            raise
        except BaseException as error:
            raised = error
    outcome = observation.outcome(raised, state or whole, strict, watched)
    watched.refused |= simple and any(error.startswith(COPYING) for error in outcome.errors)
    cause = raised
    if isinstance(raised, RemapError):  # no load began
        outcome = replace(outcome, strict=False, complete=True, errors=(str(raised),))
        cause = raised.__cause__ or raised
    outcome = replace(outcome, remapped=done)
    wants_numbers = watched.refused or watched.doubts.asked or _wants_numbers(cause, outcome.errors)
    read = watched.numbers or any(storage_of(tensor) in watched.derived for tensor in watched.doubts.read)
    raised = cause = None  # its traceback has this frame, and would keep the module until a collection
    return Attempt(outcome, wants_numbers, watched.refused, read, watched.doubts)


#: The methods that a load calls.
_LOADING = frozenset(
    {"load_state_dict", "_load_from_state_dict", "set_extra_state", "__setattr__", "__setstate__"}
)
_HOOKS = ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")


def _has_loading_code(parts: Sequence[nn.Module]) -> bool:
    """Whether a load may run code that is not torch's: an overridden method, or a hook."""
    kinds = {type(part) for part in parts}
    methods = (getattr(kind, name, None) for kind in kinds for name in _LOADING)
    if not all(getattr(each, "__module__", "torch").split(".")[0] == "torch" for each in methods if each):
        return True
    return has_own(parts, _HOOKS, _LOADING)


def _call_load(module: nn.Module, state: Mapping[str, Any], strict: bool, structure: Structure) -> None:
    """Calls ``load_state_dict``, with ``strict`` unless an override does not take it."""
    if lightning.is_lightning(type(module)) and lightning.is_checkpoint(structure):
        strict = lightning.strictness(module, strict)
    parameters = inspect.signature(module.load_state_dict).parameters.values()
    takes_strict = any(p.name == "strict" or p.kind is p.VAR_KEYWORD for p in parameters)
    module.load_state_dict(state, **({"strict": strict} if takes_strict else {}))


def fits_on_meta(structure: Structure, tensors: Iterable[torch.Tensor]) -> bool:
    """Whether the meta device supports every tensor of both sides."""
    plain = all(spec.dtype in PLAIN_DTYPES for spec in structure.tensors.values())
    return plain and all(tensor.is_meta for tensor in tensors)


def _wants_numbers(error: BaseException | None, messages: Iterable[str]) -> bool:
    """Whether a load may have failed only because meta tensors have no numbers.

    Torch usually mentions meta tensors in the message. Formatting or iterating one is a plain
    TypeError. Errors such as KeyError come from the loading code itself.
    """
    if any("meta tensor" in message.lower() for message in messages):
        return True
    return isinstance(error, (RuntimeError, TypeError, ValueError)) and not words(error).startswith(REPORT)
