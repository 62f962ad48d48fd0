"""Remarks on how a check was made, for its verdict."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_ckpt_compat._core.contents import DISTRIBUTED, subclass_of
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.contents import ONE_RANK
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.observation import Outcome
from pytest_ckpt_compat._definition.remap import remarks


def notes_of(definition: Definition, structure: Structure, outcome: Outcome) -> Iterator[str]:
    """Whose way of loading was followed, what it did, and what was not checked; a line each."""
    if definition.lightning and lightning.is_checkpoint(structure):
        yield from lightning.remarks(definition.target, definition.kwargs, structure)
    if outcome.remapped:
        yield from remarks(outcome.remapped, outcome.unexpected)
    yield from outcome.notes
    if outcome.unconfirmed:
        yield outcome.unconfirmed
    if outcome.unsaved:
        yield outcome.unsaved
    if outcome.read_weights:
        code = "the definition's loading code reads numbers"
        either = "the migration, or the definition's loading code, makes or reads numbers"
        yield f"{either if outcome.remapped else code}: checked with the real weights"
    for key in outcome.unapplied:
        yield f"{key}: its value is of a class that is not read, so set_extra_state was not called"
    if any(subclass_of(spec.dtype) == DISTRIBUTED for spec in structure.tensors.values()):
        yield ONE_RANK


def failed(what: str, error: Exception) -> tuple[str, ...]:
    """The remark that something besides the load was not possible, which stands without it."""
    if isinstance(error, CkptCompatError):
        return (f"{what} was not possible: {error}",)
    return (f"{what} failed; what torch found is complete: {located(error)}; please report it",)
