"""What a project does to a state_dict before ``load_state_dict``: its migrations, and Lightning's hook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.project_code import RemapError

if TYPE_CHECKING:
    from torch import nn

    from pytest_ckpt_compat._core.migrated import Migrated


@dataclass(frozen=True)
class Prepared:
    """What ``load_state_dict`` is given.

    Attributes:
        state: the state_dict.
        name: of what made it of the checkpoint's, or "".
        migrated: what the registered migrations did, or None if there are none.
    """

    state: Mapping[str, Any]
    name: str = ""
    migrated: Migrated | None = None


def prepared(
    definition: Definition, module: nn.Module, state: Mapping[str, Any], structure: Structure
) -> Prepared:
    """Returns the state_dict that ``load_state_dict`` is given, and what made it of the checkpoint's.

    Raises:
        RemapError: the project's code raises, or returns no state_dict.
        NoBaselineError: it needs what a snapshot does not keep.
    """
    given, names, migrated = state, [], None
    if definition.remap:
        given, migrated = definition.remap.watched(given, module, structure)
        names += [definition.remap.name] if migrated.applied else []
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
    return Prepared(given, " and ".join(names), migrated)


def _identities(state: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(key, id(value)) for key, value in state.items()]
