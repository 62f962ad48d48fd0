"""Applies tables of transformers with its own functions, to a model that has nothing but parameters."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from pytest_ckpt_compat._core.structure import OBJECT, Structure
from pytest_ckpt_compat._definition.empty import empty

_SETTING = "HF_DEACTIVATE_ASYNC_LOAD"


def by_conversions(
    conversions: Sequence[Any], new: Structure, device: str = "meta"
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """A function that gives what transformers loads of a state_dict: the parameters that it has set.

    Args:
        conversions: ``WeightRenaming`` and ``WeightConverter``.
        new: the keys and specs of the model.
        device: where its tensors are.
    """

    def migrate(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        from transformers import core_model_loading as loading
        from transformers.modeling_utils import LoadStateDictConfig

        model = _model(new, device)
        load: Any = loading.convert_and_load_state_dict_in_model
        config = LoadStateDictConfig(weight_mapping=copy.deepcopy(list(conversions)), device_map={"": device})
        with _in_this_thread():
            info, _ = load(model, dict(state_dict), config)
        if info.conversion_errors:
            raise RuntimeError(next(iter(info.conversion_errors.values())))
        lacking = {*info.missing_keys, *(each[0] for each in info.mismatched_keys)}
        return {key: value for key, value in model.state_dict(keep_vars=True).items() if key not in lacking}

    return migrate


def _model(new: Structure, device: str) -> Any:
    """A module whose parameters have the keys of a structure."""
    import torch
    from torch import nn

    model: Any = nn.Module()
    for key, spec in new.tensors.items():
        *path, name = key.split(".")
        module = model
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        if spec.dtype != OBJECT:
            tensor = empty(spec, device)
            module.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
    model.base_model_prefix, model.config = "", SimpleNamespace()
    return model


@contextlib.contextmanager
def _in_this_thread() -> Iterator[None]:
    """Lets transformers load without threads and without a progress bar."""
    from transformers.utils import logging as library

    logging: Any = library
    before, shown = os.environ.get(_SETTING), logging.is_progress_bar_enabled()
    os.environ[_SETTING] = "1"
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SETTING]
        else:
            os.environ[_SETTING] = before
        if shown:
            logging.enable_progress_bar()
