"""Fills a module with drawn values, by its own ``load_state_dict``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.outputs import TOLERANCES
from pytest_ckpt_compat._core.structure import OBJECT, UNINITIALIZED, Structure
from pytest_ckpt_compat._definition.drawn import weight
from pytest_ckpt_compat._definition.empty_state import with_metadata

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Keys that a message lists.
_SHOWN = 3
_FLOATS = ("float", "bfloat")
#: dtype -> its place among those that a run may compute in, the most precise first.
_RANK = {name: place for place, name in enumerate(TOLERANCES)}
#: A number is round if this many times it is an integer.
_ROUND = 1024
#: Turns the state_dict that was drawn into the one that the module loads.
Way = Callable[[Mapping[str, Any], "nn.Module"], Mapping[str, Any]]


class NotRunError(Exception):
    """A definition was not run, for a reason that is no fault of it."""


class NotFilledError(NotRunError):
    """Drawn values do not reach every parameter and persistent buffer."""


def drawn_state(structure: Structure) -> Mapping[str, Any]:
    """A state_dict with values that are drawn from its keys, float64 (or complex128); integers are zero.

    Raises:
        NotRunError: it has a tensor whose shape the first batch decides.
    """
    import torch

    state: dict[str, Any] = {}
    for key, spec in structure.tensors.items():
        if spec.dtype == UNINITIALIZED:
            raise NotRunError(f"the shape of {key} is decided by the first batch")
        if spec.dtype == OBJECT:
            continue
        if spec.dtype.startswith("complex"):
            state[key] = torch.view_as_complex(weight(key, (*spec.shape, 2)))
        elif spec.dtype.startswith(_FLOATS):
            state[key] = weight(key, spec.shape)
        else:
            state[key] = torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype, torch.int64))
    for first, *others in structure.aliases:
        state.update({key: state[first] for key in others if first in state})
    kept = {key: spec for key, spec in structure.tensors.items() if key in state}
    named = Structure(kept, versions=structure.versions)
    return with_metadata(state, named)


def fill(
    module: nn.Module, state: Mapping[str, Any], way: Way | None = None, dtype: torch.dtype | None = None
) -> None:
    """Loads drawn values; what is no float, and what is not saved, stays as it is built.

    Args:
        module: the module.
        state: the values, by key.
        way: makes of them what the module loads; None if the keys are its own.
        dtype: of the module's floating-point tensors from now on; None if they stay as they are.

    Raises:
        NotFilledError: they do not reach every parameter and persistent buffer.
        NotRunError: the module has a tensor that cannot be written to.
    """
    import torch

    if dtype is not None:
        _convert(module, dtype)
    kept = []
    try:
        for _, part, name in _saved(module):
            tensor = part[name]
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.detach().fill_(math.nan)
            else:
                kept.append((part, name, tensor.detach().clone()))
    except RuntimeError as error:
        raise NotRunError(f"a tensor of it cannot be filled: {_line(error)}") from error
    try:
        given = state if way is None else way(state, module)
        module.load_state_dict(given, **({"strict": False} if _takes_strict(module) else {}))
    except NotRunError:
        raise
    except Exception as error:  # torch's report of sizes, or whatever the module's own code raises
        raise NotFilledError(_line(error)) from error
    for part, name, tensor in kept:
        part[name].detach().copy_(tensor)
    floats = ((path, part[name]) for path, part, name in _saved(module))
    left = [path for path, tensor in floats if bool(torch.isnan(tensor.detach()).any())]
    if left:
        more = ", ..." if len(left) > _SHOWN else ""
        raise NotFilledError(f"nothing is known to become {', '.join(left[:_SHOWN])}{more}")


def _takes_strict(module: nn.Module) -> bool:
    found = inspect.signature(module.load_state_dict).parameters.values()
    return any(each.name == "strict" or each.kind is each.VAR_KEYWORD for each in found)


def _saved(module: nn.Module) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Path, owner and name of each parameter and persistent buffer, once."""
    seen: set[int] = set()
    for path, part in module.named_modules():
        registered: tuple[Any, ...] = (part._parameters, part._buffers)
        for own in registered:
            for name, tensor in own.items():
                passing = own is part._buffers and name in part._non_persistent_buffers_set
                if tensor is not None and not passing and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, own, name


def lowest_as_built(module: nn.Module) -> str:
    """The lowest dtype of floating-point tensors that a module has computed and does not save.

    Their last digits may depend on the machine. Round numbers, such as those of a mask, are the same on all.
    """
    found = {"float64"}
    for part in module.modules():
        passing = [part._buffers[name] for name in part._non_persistent_buffers_set if name in part._buffers]
        for value in (*passing, *vars(part).values()):
            if _is_inexact(value):
                found.add(str(value.dtype).rpartition(".")[2])
    return lowest(found)


def lowest(dtypes: Iterable[str]) -> str:
    """The least precise of floating-point dtypes, of those that have a tolerance."""
    return max((each if each in _RANK else "float16" for each in dtypes), key=_RANK.__getitem__)


def _is_inexact(value: Any) -> bool:
    import torch

    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.is_meta:
        return False
    if value.dtype == torch.float64 or value.layout is not torch.strided:
        return False
    finite = value.detach()[torch.isfinite(value.detach())].double().mul(_ROUND)
    return bool((finite != finite.round()).any())


def _convert(module: nn.Module, dtype: torch.dtype) -> None:
    """Gives floating-point parameters and buffers a dtype, and complex ones the most precise."""
    import torch

    def wide(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_complex():
            return tensor.to(torch.complex128)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    applying: Any = module._apply
    applying(wide)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
