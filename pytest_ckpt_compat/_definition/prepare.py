"""What a project does to a state_dict before ``load_state_dict``: its remap, and Lightning's hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.project_code import RemapError

if TYPE_CHECKING:
    from torch import nn


def prepared(
    definition: Definition, module: nn.Module, state: Mapping[str, Any], structure: Structure
) -> tuple[Mapping[str, Any], str]:
    """Returns the state_dict that ``load_state_dict`` is given, and what made it of the checkpoint's, or "".

    Raises:
        RemapError: the project's code raises, or returns no state_dict.
        NoBaselineError: it needs what a snapshot does not keep.
    """
    given, names = state, []
    if definition.remap:
        given = definition.remap(given, module)
        names.append(f"remap {definition.remap.name}")
    if definition.prepares and lightning.has_hook(module) and lightning.is_checkpoint(structure):
        name = f"{type(module).__name__}.on_load_checkpoint"
        before = _identities(given)
        try:
            given = lightning.after_hook(module, definition.kwargs, given, structure)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            lightning.require_values(name, error, structure)
            raise RemapError(f"{name} raised {brief(error)}") from error
        if not isinstance(given, Mapping):
            raise RemapError(f"{name} left {type(given).__name__}, not a state_dict")
        if _identities(given) != before:
            names.append(name)
    return given, " and ".join(names)


def _identities(state: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(key, id(value)) for key, value in state.items()]
