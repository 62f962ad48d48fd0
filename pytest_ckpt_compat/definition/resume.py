"""The optimizer's state of a checkpoint, loaded for real into an optimizer over today's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat.changes import Change
from pytest_ckpt_compat.definition.build import build, untouched_globals
from pytest_ckpt_compat.definition.find import Definition, brief, find_attribute
from pytest_ckpt_compat.errors import BuildError, ReadError
from pytest_ckpt_compat.structure import TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


def mismatches(path: Path, definition: Definition, factory: Any, values: Mapping[str, Any]) -> list[Change]:
    """What keeps the optimizer's state in a checkpoint from being resumed, by parameter key.

    Args:
        path: the checkpoint. It is read by torch's own ``weights_only`` loader, onto meta.
        definition: the model.
        factory: an optimizer class, which is given the parameters; a factory, which is given the
            model; or ``"package.module:attr"``.
        values: the checkpoint's non-tensor values, for a definition that takes them.

    Raises:
        ReadError: there is no optimizer state, or torch refuses the file.
        BuildError: the optimizer cannot be found or built.
    """
    state = _state(path)
    with untouched_globals():
        module = build(definition, values)
        optimizer = _optimizer(factory, module)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        keys = [[names.get(id(p), "?") for p in group["params"]] for group in optimizer.param_groups]
        found = list(_groups(state, keys))
        if not found:
            found += _shapes(state, keys, _expected(optimizer))
        if not found:
            try:
                optimizer.load_state_dict(state)
            except Exception as error:
                found.append(Change("optimizer-mismatch", detail=f"load_state_dict raised {brief(error)}"))
    return found


def _state(path: Path) -> Any:
    import torch

    try:
        checkpoint = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:
        raise ReadError(
            str(path),
            f"its optimizer state cannot be read safely: {type(error).__name__}",
            "save state_dicts and plain values alone, or lower its level",
        ) from error
    candidates = [checkpoint, *(checkpoint.values() if isinstance(checkpoint, Mapping) else ())]
    candidates += [each[0] for each in candidates if isinstance(each, list) and each]
    for each in candidates:
        if isinstance(each, Mapping) and {"state", "param_groups"} <= set(each):
            return each
    raise ReadError(
        str(path), "holds no optimizer state", "save optimizer.state_dict() with it, or lower its level"
    )


def _optimizer(factory: Any, module: nn.Module) -> torch.optim.Optimizer:
    import torch

    target = find_attribute(factory) if isinstance(factory, str) else factory
    try:
        is_class = isinstance(target, type) and issubclass(target, torch.optim.Optimizer)
        made = target(module.parameters()) if is_class else target(module)
    except Exception as error:
        raise BuildError(
            str(factory), f"raised {brief(error)}", "give a factory that takes the model"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise BuildError(str(factory), f"gave {type(made).__name__}", "return a torch.optim.Optimizer")
    return made


def _groups(state: Mapping[str, Any], keys: list[list[str]]) -> Iterator[Change]:
    """Numbers of groups and of parameters in them: what torch compares."""
    before = [len(group["params"]) for group in state["param_groups"]]
    if len(before) != len(keys):
        yield Change("optimizer-mismatch", detail=f"parameter groups {len(before)} -> {len(keys)}")
        return
    for number, (old, new) in enumerate(zip(before, keys, strict=True)):
        if old != len(new):
            detail = f"parameters in group {number} (from {new[0] if new else 'none'}): {old} -> {len(new)}"
            yield Change("optimizer-mismatch", detail=detail)


def _expected(optimizer: torch.optim.Optimizer) -> list[Mapping[str, Any]]:
    """The state that a step would make for each parameter; empty where a step on meta is not possible."""
    import torch

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        made = [dict(optimizer.state.get(parameter, {})) for parameter in parameters]
    except Exception:  # an optimizer of any make; then its state is compared with the parameters' shapes
        made = [{} for _ in parameters]
    finally:
        optimizer.zero_grad()
        optimizer.state.clear()
    shapes = [tuple(parameter.shape) for parameter in parameters]
    return [{"": shape, **state} for shape, state in zip(shapes, made, strict=True)]


def _shapes(
    state: Mapping[str, Any], keys: list[list[str]], expected: list[Mapping[str, Any]]
) -> Iterator[Change]:
    """State tensors whose shape is not that of today's: torch loads them, and the next step fails."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    names = [name for group in keys for name in group]
    for number, name, wanted in zip(numbers, names, expected, strict=True):
        for kind, value in state["state"].get(number, {}).items():
            shape = tuple(getattr(value, "shape", ()))
            now = wanted.get(kind)
            fits = tuple(getattr(now, "shape", ())) if now is not None else wanted[""]
            if shape and shape != fits:
                dtype = str(value.dtype).removeprefix("torch.")
                specs = (TensorSpec(dtype, shape),), (TensorSpec(dtype, fits),)
                yield Change(
                    "optimizer-mismatch", (name,), (name,), *specs, detail=f"{kind} of the optimizer"
                )
