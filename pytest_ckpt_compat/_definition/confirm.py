"""Loads a checkpoint's structure on meta, and confirms with real tensors whatever is red or in doubt."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.changes import MEMORY_BUDGET
from pytest_ckpt_compat._core.display import size
from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError, ReadError
from pytest_ckpt_compat._core.parts import joined
from pytest_ckpt_compat._core.structure import ITEM_SIZES, Source, Structure
from pytest_ckpt_compat._definition import from_pretrained, peft_adapter
from pytest_ckpt_compat._definition.beside import compared
from pytest_ckpt_compat._definition.build import build, build_real
from pytest_ckpt_compat._definition.counterparts import is_lazy
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.empty_state import empty_state, with_metadata
from pytest_ckpt_compat._definition.entries import (
    bytes_of,
    loadable,
    saves_alone,
    saves_with_hooks,
    structure_of,
)
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.kept import Kept
from pytest_ckpt_compat._definition.load import Attempt, attempt, fits_on_meta, require_objects
from pytest_ckpt_compat._definition.observation import Outcome
from pytest_ckpt_compat._definition.walk import parts_of, tensors_of, walk
from pytest_ckpt_compat._definition.weights import is_readable, read_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

#: dtypes that meta tensors copy as real ones do. Others (``float4_e2m1fn_x2``, ``bits8``) are in doubt.
_COPIED_ALIKE = frozenset(name for name in ITEM_SIZES if not name.startswith(("q", "float4"))) | {
    "object",
    "uninitialized",
}


def load(
    structure: Structure, definition: Definition, strict: bool = True, budget: int = MEMORY_BUDGET
) -> tuple[Structure, Outcome]:
    """Loads a checkpoint into a definition. Returns the definition's structure, and what torch reported.

    The first load has meta tensors, which take no memory. If it raises, brings in nothing, or is in
    doubt, a second one with real tensors in a really built module decides.

    Args:
        structure: the structure of the checkpoint.
        definition: what to load it into.
        strict: as in ``load_state_dict``.
        budget: bytes that the real tensors of both sides may take together.

    Raises:
        BuildError: the definition cannot be built.
        NoBaselineError: the load needs numbers, and the weights are not available.
        ReadError: the load needs an object, or numbers, that readers do not support.
    """
    if definition.loader is not None:
        from pytest_ckpt_compat._definition import loader

        return loader.load(structure, definition, definition.loader, budget)
    kept = definition.kept
    kept = kept if kept is not None and kept.serves(definition, structure) else None
    module = kept.module() if kept else None
    if kept and module and (known := kept.found(structure, (strict, budget))):
        return known
    doubts = Doubts()
    if module is None:
        observed = replace(definition, target=kept.observed()) if kept else definition
        module = build(observed, structure.values, doubts)
    if peft_adapter.applies(module, structure, definition):
        return peft_adapter.load(module, structure, definition, strict, budget, doubts)
    if from_pretrained.applies(module, definition):
        try:
            new, outcome = from_pretrained.load(module, structure, definition, strict, budget)
        except from_pretrained.NotHereError as error:
            new, outcome = _loaded(structure, definition, strict, budget, module, doubts)
            notes = (*outcome.notes, f"{error}: checked with load_state_dict")
            outcome = replace(outcome, notes=notes)
        return new, replace(outcome, prefixes=True)
    return _loaded(structure, definition, strict, budget, module, doubts, kept)


def _loaded(
    structure: Structure,
    definition: Definition,
    strict: bool,
    budget: int,
    module: nn.Module,
    doubts: Doubts,
    kept: Kept | None = None,
) -> tuple[Structure, Outcome]:
    """Loads a checkpoint into a newly built module, or one that is kept, with its own ``load_state_dict``."""
    walked = walk(module)
    tensors = walked.tensors

    @functools.cache  # a load that succeeds without a doubt never asks
    def needed() -> int:
        return bytes_of(tensors) + sum(_entry_bytes(key, structure) for key in structure.tensors)

    add_doubts(tensors, doubts)
    _add_dtypes({spec.dtype for spec in structure.tensors.values()}, doubts)
    new, entries, unsaved = _structure(module, definition, walked.parts)
    if unsaved and needed() <= budget:
        return _really(structure, definition, strict)
    if unsaved:
        doubts.add("its state_dict() raises on tensors without numbers")
    if not fits_on_meta(structure, tensors):
        # Quantized and sparse tensors do not exist on meta, and have copy rules of their own.
        return _really(structure, definition, strict)
    known = walked if entries is not None and saves_alone(walked.parts) else None
    state = empty_state(structure, "meta")
    first = attempt(module, state, structure, definition, strict, entries, known)
    outcome = replace(first.outcome, unsaved="")
    if first.wants_numbers and (needed() > budget or is_readable(structure)):
        return _with_numbers(structure, definition, strict, first, budget)
    reasons = {**doubts.reasons, **first.doubts.reasons}
    if kept:
        kept.keep(module, sure=not (reasons or doubts.asked or doubts.read or first.wants_numbers))
    if outcome.raised or outcome.nothing or reasons or first.wants_numbers:
        if needed() <= budget:
            return _really(structure, definition, strict, first)
        why = f"in doubt because {', '.join(reasons)}; " if reasons else ""
        outcome = replace(outcome, unconfirmed=f"{why}{_too_large(needed(), budget)}")
    elif kept:
        kept.keep_load(structure, (strict, budget), (new, outcome))
    return new, _checked(outcome, structure)


def defined(
    definition: Definition, checkpoint: Mapping[str, Any] | None = None, budget: int = MEMORY_BUDGET
) -> Structure:
    """Returns the structure of a definition; a real build decides if one on meta is in doubt.

    Args:
        definition: what to build.
        checkpoint: the checkpoint's non-tensor values, for a factory that takes them.
        budget: bytes that its real tensors may take.

    Raises:
        BuildError: the definition cannot be built.
    """
    if definition.parts:
        parts = {name: defined(each, checkpoint, budget) for name, each in definition.parts.items()}
        places = tuple((name, name) for name in parts)
        return joined(parts, Source(definition.name or definition.label, "definition", parts=places))
    doubts = Doubts()
    module = build(definition, checkpoint, doubts)
    affordable = bytes_of(tensors_of(module)) <= budget
    try:
        new = structure_of(module, definition)
    except BuildError:
        if not affordable:
            raise
        return structure_of(build_real(definition, checkpoint), definition)
    if doubts.reasons and affordable:
        return structure_of(build_real(definition, checkpoint), definition)
    return new


def add_doubts(tensors: Iterable[torch.Tensor], doubts: Doubts) -> None:
    """Adds the doubts about a built module's tensors."""
    import torch

    tensors = [tensor for tensor in tensors if not is_lazy(tensor)]
    overlap: Any = torch._debug_has_internal_overlap
    if any(tensor.layout is torch.strided and overlap(tensor) for tensor in tensors):
        doubts.add("elements of a parameter or buffer share memory")
    dtypes = {tensor.dtype for tensor in tensors}
    _add_dtypes({str(dtype).removeprefix("torch.") for dtype in dtypes}, doubts)


def _add_dtypes(dtypes: Iterable[str], doubts: Doubts) -> None:
    for name in sorted(dtypes):
        if not name.startswith("sparse") and name not in _COPIED_ALIKE:
            doubts.add(f"copies of {name} differ")


def _structure(
    module: nn.Module, definition: Definition, parts: Iterable[nn.Module]
) -> tuple[Structure, Mapping[str, Any] | None, str]:
    """Returns the structure of a module, its entries, and why it can save none, or "".

    The module stays as it is; where that takes a copy, the entries are None.
    """
    if not saves_with_hooks(parts):
        return loadable(module, definition)
    with contextlib.suppress(Exception):
        module = copy.deepcopy(module)
    structure, _, unsaved = loadable(module, definition)
    return structure, None, unsaved


def _with_numbers(
    structure: Structure, definition: Definition, strict: bool, first: Attempt, budget: int
) -> tuple[Structure, Outcome]:
    """Loads the real weights, whatever they take, unless all would have to be copied into memory."""
    if not is_readable(structure, budget):
        raise _no_numbers(structure, definition, first)
    module = build_real(definition, structure.values)
    new = _structure(module, definition, parts_of(module))[0]
    state = with_metadata(read_weights(structure), structure)
    outcome = attempt(module, state, structure, definition, strict).outcome
    return new, _checked(replace(outcome, read_weights=True), structure)


def _really(
    structure: Structure, definition: Definition, strict: bool, first: Attempt | None = None
) -> tuple[Structure, Outcome]:
    """Loads real tensors into a really built module: the file's own where it is there, else zeros."""
    module = build_real(definition, structure.values)
    new = _structure(module, definition, parts_of(module))[0]
    state, whole = _real_state(structure)
    second = attempt(module, state, structure, definition, strict)
    numbers_decide = second.read or (second.refused and first is not None and first.wants_numbers)
    if numbers_decide and not whole:
        raise _no_numbers(structure, definition, first or second)
    outcome = second.outcome
    if whole and outcome.beside and definition.once.module is None:  # which has no numbers of its own
        outcome = replace(outcome, beside=compared(outcome.beside, module, state))
    return new, _checked(outcome, structure)


def _real_state(structure: Structure) -> tuple[Mapping[str, Any], bool]:
    """Returns a state_dict of real tensors, and whether their numbers are the file's."""
    if is_readable(structure):
        try:
            return with_metadata(read_weights(structure), structure), True
        except (OSError, ReadError):  # the file changed since its structure was read
            pass
    return empty_state(structure, "cpu"), False


def _checked(outcome: Outcome, structure: Structure) -> Outcome:
    if not outcome.complete:
        require_objects(structure, outcome)
    return outcome


def _no_numbers(structure: Structure, definition: Definition, load: Attempt) -> NoBaselineError:
    errors = "; ".join(load.outcome.errors)
    return NoBaselineError(
        structure.source.path or definition.label,
        f"loading it into {definition.label} reads the values of tensors{f' ({errors})' if errors else ''}",
        "check against the checkpoint file itself, not a snapshot",
    )


def _entry_bytes(key: str, structure: Structure) -> int:
    """Bytes that an entry of a checkpoint takes, with the gaps between its elements."""
    spec, stride = structure.tensors[key], structure.strides.get(key)
    if stride is None or not spec.numel:
        return int(spec.nbytes or spec.numel * 8)
    length = sum((size - 1) * step for size, step in zip(spec.shape, stride, strict=True)) + 1
    return math.ceil(length * ITEM_SIZES.get(spec.dtype, 8))


def _too_large(needed: int, budget: int) -> str:
    return f"not confirmed with real tensors: they take {size(needed)}, memory_budget is {size(budget)}"
