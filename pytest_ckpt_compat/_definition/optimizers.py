"""Makes optimizers for a definition, and the state that one step keeps for each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.changes import MEMORY_BUDGET
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._definition.build import build, build_real
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.entries import bytes_of
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief, find_attribute
from pytest_ckpt_compat._definition.walk import tensors_of

if TYPE_CHECKING:
    import torch
    from torch import nn


def make(
    factory: Any, definition: Definition, values: Mapping[str, Any], budget: int = MEMORY_BUDGET
) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    """Makes a model and its optimizers: on meta, unless the model is in doubt there, or the factory fails.

    Args:
        factory: an optimizer class, called with the parameters; a factory, called with the model (of several
            parts, with a dictionary of them), that returns one optimizer or several; or
            ``"package.module:attr"``.
        definition: the model.
        values: the checkpoint's non-tensor values, for a definition that takes them.
        budget: bytes that the model's tensors may take if it is only in doubt.

    Raises:
        BuildError: the model or the optimizer cannot be found or built.
    """
    target = find_attribute(factory) if isinstance(factory, str) else factory
    doubts = Doubts()
    module = build(definition, values, doubts)
    if doubts.reasons and bytes_of(tensors_of(module)) <= budget:
        module = build_real(definition, values)
    try:
        made = _call(target, module, definition)
    except KeyboardInterrupt:
        raise
    except BaseException:  # fused optimizers need parameters on a real device
        module = build_real(definition, values)
        try:
            made = _call(target, module, definition)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise BuildError(
                name_of(factory), f"raised {brief(error)}", "give a factory that takes the model"
            ) from error
    return module, _require_optimizers(made, factory)


def _call(target: Any, module: nn.Module, definition: Definition) -> Any:
    import torch

    is_class = isinstance(target, type) and issubclass(target, torch.optim.Optimizer)
    if is_class:
        return target(module.parameters())
    return target({name: module._modules[name] for name in definition.parts} if definition.parts else module)


def _require_optimizers(made: Any, factory: Any) -> list[torch.optim.Optimizer]:
    import torch

    found = list(made) if isinstance(made, (list, tuple)) else [made]
    strange = next((each for each in found if not isinstance(each, torch.optim.Optimizer)), None)
    if strange is not None or not found:
        what = "nothing" if not found else type(strange).__name__
        advice = "return a torch.optim.Optimizer, or a list of them"
        raise BuildError(name_of(factory), f"gave {what}", advice)
    return found


def name_of(factory: Any) -> str:
    """Returns the name of a factory for messages."""
    return factory if isinstance(factory, str) else str(getattr(factory, "__qualname__", factory))


State = Mapping[Any, Mapping[str, Any]]


def parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Returns the parameters in the order of the groups."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def state_of(optimizer: torch.optim.Optimizer) -> State:
    """Copies an optimizer's state by parameter, in dictionaries that the optimizer does not change."""
    return {parameter: dict(fields) for parameter, fields in optimizer.state.items()}


def set_state(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Replaces an optimizer's state by a copy of ``state``."""
    optimizer.state.clear()
    optimizer.state.update({parameter: dict(fields) for parameter, fields in state.items()})


def after_a_step(optimizer: torch.optim.Optimizer, initial: State) -> list[Mapping[str, Any]]:
    """Makes one step, and returns the state of each parameter in the order of the groups.

    The step uses the parameters as they are; on meta it computes nothing. If the optimizer reads
    numbers, the step is repeated with zeros, once for each kind of parameter.

    Args:
        optimizer: the optimizer. Its state is empty afterwards.
        initial: the state that its constructor made.

    Raises:
        Exception: any error of the step.
    """
    import torch

    groups = optimizer.param_groups
    try:
        set_state(optimizer, initial)
        return _step(optimizer, groups)
    except Exception:
        if not any(parameter.is_meta for parameter in parameters_of(optimizer)):
            raise
    known: dict[tuple[object, ...], Mapping[str, Any]] = {}
    found = []
    for group in groups:
        settings = repr({name: value for name, value in group.items() if name != "params"})
        for parameter in group["params"]:
            alike = (settings, parameter.shape, parameter.dtype)
            if alike not in known:
                zeros = torch.nn.Parameter(torch.zeros(parameter.shape, dtype=parameter.dtype))
                [known[alike]] = _step(optimizer, [{**group, "params": [zeros]}])
            found.append(known[alike])
    return found


def _step(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """Makes a step on ``groups`` and returns the states. Restores the groups and empties the state."""
    before = optimizer.param_groups
    optimizer.param_groups = groups
    try:
        return try_step(optimizer)
    finally:
        optimizer.param_groups = before
        optimizer.state.clear()


def try_step(optimizer: torch.optim.Optimizer) -> list[Mapping[str, Any]]:
    """Makes a step with zero gradients, and returns the states in the order of the groups.

    Raises:
        Exception: any error of the step.
    """
    import torch

    parameters = parameters_of(optimizer)
    try:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        return [dict(optimizer.state.get(parameter, {})) for parameter in parameters]
    finally:
        for parameter in parameters:
            parameter.grad = None
