"""The inputs of one forward, as the project's factory gives them: the same on every machine."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import BuildError, UsageError
from pytest_ckpt_compat._core.outputs import Digest
from pytest_ckpt_compat._definition.digests import digest, tensors_by_path
from pytest_ckpt_compat._definition.drawn import draw
from pytest_ckpt_compat._definition.names import brief, find_attribute, is_module, name_of
from pytest_ckpt_compat._definition.surroundings import untouched_globals

if TYPE_CHECKING:
    import torch

_USAGE = "give a function without arguments that returns a tensor, a tuple of arguments or a dict of them"


@dataclass(frozen=True)
class Factory:
    """The project's function that gives the inputs of one forward.

    Attributes:
        function: the project's.
        name: ``package.module:function``.
    """

    function: Callable[[], Any]
    name: str


@dataclass(frozen=True)
class Inputs:
    """The inputs of one forward.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        digests: path -> the tensor there.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    digests: Mapping[str, Digest]


def factory_of(given: Any) -> Factory:
    """Resolves what a registration gives as ``inputs``.

    Args:
        given: a function, or ``"package.module:function"``.

    Raises:
        BuildError: the name cannot be imported.
        UsageError: it is not a function that can be called without arguments.
    """
    function = find_attribute(given) if isinstance(given, str) else given
    name = given if isinstance(given, str) else ""
    if not name:
        dotted = name_of(function)
        home = getattr(function, "__module__", None) or ""
        name = f"{home}:{dotted.removeprefix(home + '.')}" if dotted else f"{home}:{_plain_name(function)}"
    if not callable(function) or is_module(function):
        raise UsageError(f"inputs {name}", "is not a function", _USAGE)
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise UsageError(f"inputs {name}", "cannot be called without arguments", _USAGE) from None
    except ValueError:  # written in C
        pass
    return Factory(function, name)


def _plain_name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def inputs_of(factory: Factory) -> Inputs:
    """Calls the factory. Floating-point tensors come back as float64.

    It is called twice, with other random numbers. What is the same both times stays. Normal random numbers,
    whose last digits depend on the processor, are replaced by numbers drawn from their place; others are
    those of a fixed seed.

    Raises:
        BuildError: the factory raises, or gives no tensor.
    """
    first, second = _called(factory, 0), _called(factory, 1)
    if isinstance(first, Mapping):
        whole: Any = {str(name): value for name, value in first.items()}
    else:
        whole = first if isinstance(first, tuple) else (first,)
        second = second if isinstance(second, tuple) else (second,)
    other = tensors_by_path(second)
    whole = _mapped(whole, lambda path, tensor: _steady(path, tensor, other.get(path)))
    digests = {path: digest(tensor) for path, tensor in tensors_by_path(whole).items()}
    if not digests:
        raise BuildError(f"inputs {factory.name}", f"gave {type(first).__name__} without a tensor", _USAGE)
    named = isinstance(whole, dict)
    return Inputs(() if named else whole, whole if named else {}, digests)


def copied(inputs: Inputs, dtype: torch.dtype | None) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments of one more forward, which may write into them.

    Args:
        inputs: the inputs.
        dtype: of their floating-point tensors.
    """

    def copy(_path: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype, copy=True) if tensor.is_floating_point() else tensor.clone()

    return _mapped(inputs.args, copy), _mapped(dict(inputs.kwargs), copy)


def _called(factory: Factory, seed: int) -> Any:
    import torch

    with untouched_globals(), torch.no_grad():
        seeded(seed)
        try:
            return factory.function()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            advice = "make it give the inputs of one forward"
            raise BuildError(f"inputs {factory.name}", f"raised {brief(error)}", advice) from error


def seeded(seed: int) -> None:
    """Starts the random numbers of Python, torch and numpy anew."""
    import random
    import sys

    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(seed)


def _steady(path: str, tensor: torch.Tensor, again: torch.Tensor | None) -> torch.Tensor:
    """A tensor as every machine has it."""
    import torch

    if not tensor.is_floating_point():
        return tensor.detach()
    tensor = tensor.detach().to("cpu", torch.float64)
    same = again is not None and again.shape == tensor.shape and bool(torch.equal(again.to(tensor), tensor))
    if same or not tensor.numel() or bool((tensor >= 0).all()):
        return tensor
    return draw(f"inputs {path}", tensor.numel()).mul_(3**0.5).reshape(tensor.shape)


def _mapped(value: Any, change: Callable[[str, torch.Tensor], torch.Tensor], path: str = "") -> Any:
    """A copy of nested tuples, lists and dicts with other tensors in it."""
    import torch

    def inside(name: object, each: Any) -> Any:
        return _mapped(each, change, f"{path}.{name}" if path else str(name))

    if isinstance(value, torch.Tensor):
        return change(path, value)
    if isinstance(value, dict):
        return {name: inside(name, each) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(inside(n, each) for n, each in zip(value._fields, value, strict=True)))
    if isinstance(value, (tuple, list)):
        return type(value)(inside(number, each) for number, each in enumerate(value))
    return value
