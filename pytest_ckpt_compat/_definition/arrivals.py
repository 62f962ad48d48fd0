"""Where the values come from that reach each parameter and buffer in a load, through the hooks of modules."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.migrated import Origin
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.build import build
from pytest_ckpt_compat._definition.empty_state import empty_state
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.observation import quiet_copies
from pytest_ckpt_compat._definition.origin_texts import Texts
from pytest_ckpt_compat._definition.origins import Origins
from pytest_ckpt_compat._definition.surroundings import untouched_globals

if TYPE_CHECKING:
    from torch import nn


def arrivals(
    module: nn.Module, state: Mapping[str, Any], origins: Origins
) -> tuple[dict[str, Hashable], str]:
    """The origin of what reaches each parameter and buffer, and what raised besides torch's report.

    Args:
        module: newly built; the load changes it.
        state: what it is given.
        origins: knows where the tensors in ``state`` come from, and watches.
    """
    given: dict[str, Hashable] = {}

    def note(part: nn.Module, found: Mapping[str, Any], prefix: str, *_: Any) -> None:
        own = {**part._parameters, **part._buffers}
        names = [name for name, value in own.items() if value is not None and prefix + name in found]
        given.update({prefix + name: origins.of(found[prefix + name]) for name in names})

    for part in module.modules():
        registering: Any = part.register_load_state_dict_pre_hook
        registering(note)
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError:  # sizes that differ: the verdict of the load has them
        return given, ""
    except Exception as error:
        return given, f"{type(error).__name__}: {error}"
    return given, ""


def arriving(structure: Structure, definition: Definition) -> dict[str, Origin]:
    """Key of each parameter and buffer -> where its values come from; {} where that cannot be watched.

    Args:
        structure: the checkpoint, no migration applied.
        definition: what it is loaded into, with its migrations.
    """
    if definition.loader is not None or definition.parts:
        return {}
    try:
        module = build(definition, structure.values)
        state = empty_state(structure, "meta")
        origins = Origins(state)
        with untouched_globals(), quiet_copies(), origins.watched():
            made = definition.remap(state, module, structure) if definition.remap else state
            found, error = arrivals(module, made, origins)
            texts = Texts(state, origins)
            return {} if error else {key: texts.origin(mark) for key, mark in found.items()}
    except CkptCompatError:
        return {}
