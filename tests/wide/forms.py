"""How a checkpoint is saved, how torch's user reads it, and how a check is told of it."""

from __future__ import annotations

import contextlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

_PREFIX = "net.model."


@dataclass(frozen=True)
class Form:
    """One way to save a checkpoint.

    Attributes:
        save: saves a module's checkpoint at a path.
        load: reads the state_dict from it.
        options: what a check is told.
    """

    save: Callable[[nn.Module, Path], None]
    load: Callable[[Path], Any]
    options: Mapping[str, Any] = field(default_factory=dict)


def filled(module: nn.Module) -> Any:
    """A module's state_dict, its tensors filled with a number that no newly built module has."""
    state = module.state_dict()
    for value in state.values():
        with contextlib.suppress(Exception), torch.no_grad():
            value.fill_(7)
    return state


def _load(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True)
    except pickle.UnpicklingError:  # classes that the user has to trust
        return torch.load(path, weights_only=False)


def _save_under_a_prefix(module: nn.Module, path: Path) -> None:
    for part in reversed(_PREFIX.split(".")[:-1]):
        outer = nn.Module()
        outer.add_module(part, module)
        module = outer
    torch.save(filled(module), path)


def _load_from_under_a_prefix(path: Path) -> Any:
    state = _load(path)
    bare: Any = OrderedDict((key.removeprefix(_PREFIX), value) for key, value in state.items())
    names = {(name + ".").removeprefix(_PREFIX).strip("."): each for name, each in state._metadata.items()}
    bare._metadata = names
    return bare


def _save_whole(module: nn.Module, path: Path) -> None:
    filled(module)  # shares the module's own storages
    torch.save(module, path)


def _save_safetensors(module: nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(dict(filled(module)), path)


def _load_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


FORMS: dict[str, Form] = {
    "plain": Form(lambda module, path: torch.save(filled(module), path), _load),
    "old": Form(
        lambda module, path: torch.save(filled(module), path, _use_new_zipfile_serialization=False), _load
    ),
    "among others": Form(
        lambda module, path: torch.save({"epoch": 3, "state_dict": filled(module)}, path),
        lambda path: _load(path)["state_dict"],
    ),
    "under a key": Form(
        lambda module, path: torch.save(
            {"step": 1, "nets": {"first": filled(module), "second": {"weight": torch.ones(3)}}}, path
        ),
        lambda path: _load(path)["nets"]["first"],
        {"key": "nets.first"},
    ),
    "under a prefix": Form(_save_under_a_prefix, _load_from_under_a_prefix, {"strip_prefix": _PREFIX}),
    "whole": Form(_save_whole, lambda path: torch.load(path, weights_only=False).state_dict()),
    "safetensors": Form(_save_safetensors, _load_safetensors),
}
#: How often each is tried.
SHARES = {
    "plain": 8,
    "old": 1,
    "among others": 1,
    "under a key": 2,
    "under a prefix": 2,
    "whole": 2,
    "safetensors": 1,
}
