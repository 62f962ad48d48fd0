"""Builds a definition: without its weights, or as its code does."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._definition import lightning, lines
from pytest_ckpt_compat._definition.counterparts import Counterparts, is_lazy, is_plain, on_meta
from pytest_ckpt_compat._definition.doubts import Doubts, tensors_in
from pytest_ckpt_compat._definition.fills import fills
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.given import own_arguments
from pytest_ckpt_compat._definition.instances import copied
from pytest_ckpt_compat._definition.intercept import intercept
from pytest_ckpt_compat._definition.names import brief, is_module
from pytest_ckpt_compat._definition.surroundings import untouched_globals
from pytest_ckpt_compat._definition.uncompiled import uncompiled
from pytest_ckpt_compat._definition.walk import parts_of, tensors_of

if TYPE_CHECKING:
    import torch
    from torch import nn


def build(
    definition: Definition, checkpoint: Mapping[str, Any] | None = None, doubts: Doubts | None = None
) -> nn.Module:
    """Builds a module with parameters and buffers on the meta device, where they take no memory.

    What ``torch.empty`` makes is on meta at once. A constructor that fails this way, or asks what meta
    answers differently, runs again: then each parameter moves to meta when it is registered, as in
    accelerate's ``init_empty_weights``, and its other tensors have numbers. If it fails this way, too, it
    runs with real parameters. Global state (random numbers, default dtype and device, grad mode,
    ``sys.path``) is restored afterwards.

    Args:
        definition: what to build.
        checkpoint: the checkpoint's non-tensor values, for a factory that takes them.
        doubts: receives the reasons why a real build may give another module.

    Raises:
        BuildError: the constructor raises, or returns something other than a module.
    """
    doubts = Doubts() if doubts is None else doubts
    if definition.parts:
        return _side_by_side(
            {name: build(each, checkpoint, doubts) for name, each in definition.parts.items()}
        )
    meta = Counterparts(on_meta, doubts, unseen=True)
    if is_module(definition.target):
        counterparts = {id(tensor): meta.of(tensor) for tensor in tensors_of(definition.target)}
        module = copied(definition, {key: each for key, each in counterparts.items() if id(each) != key})
        _doubt_meta(module, meta, doubts)
        return module
    if (known := definition.once.again()) is not None:
        return known
    with untouched_globals(), definition.once.kept() as built:
        before = dict(doubts.reasons)
        module = _constructed(definition, checkpoint, meta, doubts, meta.empty)
        if module is None or doubts.reasons != before:
            # Tensors that were no parameters yet may have been asked for numbers: these can be real.
            doubts.clear(before)
            meta = Counterparts(on_meta, doubts, unseen=True)
            module = _constructed(definition, checkpoint, meta, doubts)
        if module is None:
            # A failure on meta may have any cause. A real run shows whether the constructor works.
            doubts.clear(before)
            module = _construct_or_explain(definition, checkpoint)
        _require_module(module, definition)
        move_to_meta(module, meta)
        # What was built in doubt is built again for real, whatever that takes.
        built += [] if definition.reads_checkpoint or doubts.reasons else [module]
    _doubt_meta(module, meta, doubts)
    return module  # type: ignore[no-any-return]


def _constructed(
    definition: Definition,
    checkpoint: Mapping[str, Any] | None,
    meta: Counterparts,
    doubts: Doubts,
    empty: Callable[..., torch.Tensor] | None = None,
) -> Any:
    """What the constructor gives with its parameters on meta; None where it raises.

    Args:
        definition: as ``build`` takes it.
        checkpoint: as ``build`` takes it.
        meta: gives the parameters on meta.
        doubts: receives the reasons why a real build may give another module.
        empty: called in place of ``torch.empty``.

    Raises:
        BuildError: it raises since it cannot download: again, it would take as long to fail.
    """
    try:
        with parameters_on_meta(meta, doubts, empty):
            return _construct(definition, checkpoint)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        from pytest_ckpt_compat._definition.constructor_advice import downloads

        if downloads(error):
            raise _raised(error, definition, checkpoint) from error
        return None


def _doubt_meta(module: nn.Module, meta: Counterparts, doubts: Doubts) -> None:
    """Adds a doubt about a module that its own code builds on the meta device."""
    if not len(meta) and tensors_of(module):
        doubts.add("it is built on the meta device")


def build_real(definition: Definition, checkpoint: Mapping[str, Any] | None = None) -> nn.Module:
    """Builds a module with real parameters on the CPU, as its constructor initialises them.

    Raises:
        BuildError: the constructor raises, or returns something other than a module.
    """
    if definition.parts:
        return _side_by_side({name: build_real(each, checkpoint) for name, each in definition.parts.items()})
    if is_module(definition.target):
        return copied(definition, _real_copies(definition.target))
    if (known := definition.once.real()) is not None:
        return known
    with untouched_globals():
        module = _construct_or_explain(definition, checkpoint)
    _require_module(module, definition)
    return module  # type: ignore[no-any-return]


def _side_by_side(parts: Mapping[str, nn.Module]) -> nn.Module:
    """A module of all parts. ``add_module`` would refuse names that a checkpoint may have."""
    from torch import nn

    whole = nn.Module()
    whole._modules.update(parts)
    return whole


def _construct(definition: Definition, checkpoint: Mapping[str, Any] | None) -> Any:
    kwargs = own_arguments(definition.kwargs)
    if definition.takes_checkpoint and not definition.lightning:
        kwargs["checkpoint"] = copy.deepcopy(dict(checkpoint or {}))
    with lines.watched() as registered:
        if definition.lightning:
            module = lightning.construct(definition.target, kwargs, checkpoint or {})
        else:
            module = definition.target(**kwargs)
    registered.keep(module)
    return module


def _construct_or_explain(definition: Definition, checkpoint: Mapping[str, Any] | None) -> Any:
    try:
        return _construct(definition, checkpoint)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _raised(error, definition, checkpoint) from error


def _raised(error: BaseException, definition: Definition, checkpoint: Mapping[str, Any] | None) -> BuildError:
    from pytest_ckpt_compat._definition.constructor_advice import advice_on

    advice = advice_on(error, definition, checkpoint or {})
    return BuildError(definition.label, f"raised {brief(error)}", advice)


def _require_module(module: object, definition: Definition) -> None:
    if not is_module(module):
        raise BuildError(
            definition.label,
            f"gave {type(module).__name__}, not a torch.nn.Module",
            "return the module that loads the checkpoint",
        )


@contextlib.contextmanager
def parameters_on_meta(
    meta: Counterparts, doubts: Doubts, empty: Callable[..., torch.Tensor] | None = None
) -> Iterator[None]:
    """Moves each parameter to meta when it is registered, and notes what may be different there.

    Args:
        meta: gives the parameters on meta.
        doubts: receives what code asks tensors.
        empty: called in place of ``torch.empty``.
    """
    import torch
    from torch import nn

    instead = fills(doubts) if empty is None else {**fills(doubts), torch.empty: empty}
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, param)
        if param is not None:
            with torch._C.DisableTorchFunction():  # what this package asks is no question of the user's
                module._parameters[name] = meta.of(param)  # type: ignore[assignment]

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign,assignment]
    try:
        with (
            uncompiled(),
            intercept(_Operators(doubts)),
            doubts.questions(instead),
            garbage_collection_paused(),
        ):
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


class _Operators:
    """Runs operators, except those that can only fill a meta tensor with numbers.

    Filling has no effect on meta. Yet torch runs many such operators (``normal_``, ``clamp_``) in
    Python code that imports ``torch._dynamo``, which takes a second and 80 MB.
    """

    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts

    def __call__(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        import torch

        tensors = tensors_in((*args, *kwargs.values()))
        dense = len(tensors) == 1 and tensors[0].is_meta and tensors[0].layout is torch.strided
        if dense and _only_fills(operator):
            self._doubts.random(operator, args, kwargs, tensors[0])
            return tensors[0]
        try:
            found = operator(*args, **kwargs)
        except Exception:
            self._doubts.raised(operator, args, kwargs)
            raise
        self._doubts.random(operator, args, kwargs, found)
        return found


@functools.cache
def _only_fills(operator: Any) -> bool:
    """Whether an operator is one of torch's own that write into a tensor without changing its shape."""
    import torch

    name: str = operator._schema.name
    public = name.startswith("aten::") and not name.startswith("aten::_")
    return public and name.endswith("_") and torch.Tag.inplace_view not in operator.tags


def _real_copies(module: nn.Module) -> dict[int, torch.Tensor]:
    """Maps the ids of tensors to copies that share what these share, stride by stride.

    A parameter's own ``deepcopy`` gives each a contiguous tensor, which can be written to where an
    expanded one cannot.
    """
    copies = Counterparts(lambda storage: storage.clone(), Doubts())
    plain = [tensor for tensor in tensors_of(module) if is_plain(tensor) and not is_lazy(tensor)]
    return {id(tensor): copy for tensor in plain if (copy := copies.of(tensor)) is not tensor}


def move_to_meta(module: nn.Module, meta: Counterparts) -> None:
    """Moves the buffers, and the parameters registered without ``register_parameter``."""
    for part in parts_of(module):
        for registered in (part._parameters, part._buffers):
            for name, tensor in registered.items() if registered else ():
                if tensor is not None and (moved := meta.of(tensor)) is not tensor:
                    registered[name] = moved  # type: ignore[assignment]
