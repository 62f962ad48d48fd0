"""A model as a training has it: its structure, and that of its optimizers' states. Nothing is copied."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.structure import OptimizerState, Structure, TensorSpec
from pytest_ckpt_compat._definition.entries import spec_of, structure_of
from pytest_ckpt_compat._definition.find import find

if TYPE_CHECKING:
    from torch import nn

_PLAIN = (str, int, float, bool, type(None))


def trained(model: nn.Module, optimizers: Any = None) -> Structure:
    """The structure of what ``torch.save`` would write of a model, and of the states of its optimizers.

    Args:
        model: as it is trained.
        optimizers: a ``torch.optim.Optimizer``, or a list of them; None for a structure without.

    Raises:
        UsageError: ``model`` is no module, or ``optimizers`` no optimizers.
        BuildError: ``state_dict()`` raises.
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        problem = f"was given {type(model).__name__} as model"
        raise UsageError("log_fingerprint", problem, "give the module that is trained")
    listed = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
    strange = next(
        (each for each in listed if not isinstance(each, (torch.optim.Optimizer, type(None)))), None
    )
    if strange is not None:
        problem = f"was given {type(strange).__name__} as optimizer"
        raise UsageError("log_fingerprint", problem, "give a torch.optim.Optimizer, or a list of them")
    structure = structure_of(model, find(model))
    several = isinstance(optimizers, (list, tuple)) or bool(values_of(model))
    states = {
        f"optimizer_states.{number}" if several else "optimizer": _state(each)
        for number, each in enumerate(listed)
        if each is not None
    }
    kind = type(model)
    source = replace(structure.source, path=f"{kind.__module__}.{kind.__qualname__}")
    return replace(structure, source=source, optimizers=states)


def values_of(model: nn.Module) -> dict[str, Any]:
    """What Lightning writes beside the state_dict and a load needs; {} for any other module."""
    base = next((each for each in type(model).__mro__ if each.__name__ == "LightningModule"), None)
    if base is None:
        return {}
    library = sys.modules[base.__module__.partition(".")[0]]
    owner: Any = model
    found = {"pytorch-lightning_version": str(library.__version__)}
    if owner.hparams:
        found |= {owner.CHECKPOINT_HYPER_PARAMS_KEY: dict(owner.hparams)}
        found |= {owner.CHECKPOINT_HYPER_PARAMS_NAME: owner._hparams_name} if owner._hparams_name else {}
    return found


def _state(optimizer: Any) -> OptimizerState:
    found = optimizer.state_dict()
    states = {number: fields for number, fields in found["state"].items() if isinstance(fields, Mapping)}
    return OptimizerState(
        groups=tuple(tuple(group["params"]) for group in found["param_groups"]),
        states={number: _specs(fields) for number, fields in states.items()},
        options=tuple(
            {name: value for name, value in group.items() if name != "params"}
            for group in found["param_groups"]
        ),
        values={
            number: {name: value for name, value in fields.items() if isinstance(value, _PLAIN)}
            for number, fields in states.items()
        },
    )


def _specs(fields: Mapping[str, Any]) -> dict[str, TensorSpec]:
    import torch

    return {name: spec_of(value) for name, value in fields.items() if isinstance(value, torch.Tensor)}
