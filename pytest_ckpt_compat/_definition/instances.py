"""Copies a user's module instance, with whatever it holds."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief

if TYPE_CHECKING:
    from torch import nn


def copied(definition: Definition, replaced: Mapping[int, Any]) -> nn.Module:
    """Copies the module instance of a definition. The copy shares no parameter and no buffer with it.

    Args:
        definition: its target is the instance.
        replaced: id of an object in it -> what the copy has instead.

    Raises:
        BuildError: the instance cannot be copied.
    """
    try:
        # deepcopy takes an object from its memo, if it is there, instead of copying it.
        return copy.deepcopy(definition.target, dict(replaced))  # type: ignore[no-any-return]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = error
    try:
        return _part_by_part(definition.target, dict(replaced))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BuildError(
            definition.label, f"cannot be copied: {brief(reason)}", "pass the class or a factory instead"
        ) from error


def _part_by_part(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copies every attribute that can be copied. Others, such as locks and generators, are shared."""
    parts = list(module.modules())
    for part in parts:
        memo[id(part)] = copy.deepcopy(part, memo) if hasattr(part, "__deepcopy__") else _shell(part)
    for part in parts:
        if not hasattr(part, "__deepcopy__"):
            memo[id(part)].__dict__.update({n: _value(v, memo) for n, v in part.__dict__.items()})
    return memo[id(module)]  # type: ignore[no-any-return]


def _shell(part: nn.Module) -> nn.Module:
    kind: Any = type(part)
    return kind.__new__(kind)  # type: ignore[no-any-return]


def _value(value: Any, memo: dict[int, Any]) -> Any:
    import torch

    if isinstance(value, torch.Tensor) and not value.is_leaf:
        return value.detach().clone()
    with contextlib.suppress(Exception):
        return copy.deepcopy(value, memo)
    return value
