"""Keeps a built definition for the other checkpoints that are registered with it.

That is done where building it again would give the same, and loading into it again would find the same:

- the model is a class or a function, its keyword arguments are plain values, and both are as they were;
- what its constructor read from around it can be compared, and is as it was: see ``reads``;
- torch's own code alone saves and loads what is in it, without hooks, and leaves it as it is;
- its build was not in doubt.

Everything else is built anew for each checkpoint. What a load found is found again for a checkpoint of the
same structure.
"""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.adapters import config_of
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.comparable import OPAQUE, Same, alike
from pytest_ckpt_compat._definition.names import is_module
from pytest_ckpt_compat._definition.peft_settings import is_peft_model
from pytest_ckpt_compat._definition.reads import Reads, observed
from pytest_ckpt_compat._definition.walk import parts_of, tensors_of

if TYPE_CHECKING:
    from torch import nn

    from pytest_ckpt_compat._definition.find import Definition
    from pytest_ckpt_compat._definition.observation import Outcome
    from pytest_ckpt_compat._registry.registration import Registration

#: Modules in all definitions that are kept; loads that are kept of one; builds that are watched in vain.
_MODULES, _LOADS, _TRIES = 100_000, 8, 2
#: Where torch's ``_load_from_state_dict`` changes nothing in a module but values.
_COPYING = frozenset(f"torch.nn.modules.{name}" for name in ("module", "batchnorm", "instancenorm"))
#: The methods that save and load, and the hooks on them.
_METHODS = (
    *("load_state_dict", "_load_from_state_dict", "set_extra_state", "__setattr__", "__setstate__"),
    *("state_dict", "_save_to_state_dict", "get_extra_state"),
)
_HOOKS = tuple(f"_{name}_hooks" for name in ("load_state_dict_pre", "load_state_dict_post", "state_dict_pre"))


class Kept:
    """One definition: what it was built to, and what loads into it have found.

    Args:
        target: the class or function.
        kwargs: its keyword arguments, as ``alike`` gives them.
    """

    def __init__(self, target: Any, kwargs: Any) -> None:
        self._target, self._kwargs = target, kwargs
        self._tries = 0
        self._module: nn.Module | None = None
        self._reads: Reads | None = None
        self._loads: list[tuple[Structure, object, tuple[Structure, Outcome]]] = []
        #: Number of modules in it.
        self.size = 0

    def serves(self, definition: Definition, structure: Structure) -> bool:
        """Whether a definition is the one that this is kept for, and is to be loaded as any other."""
        same = definition.target is self._target and alike(definition.kwargs) == self._kwargs
        return same and definition.remap is None and config_of(structure) is None and self._tries < _TRIES

    def module(self) -> nn.Module | None:
        """The module, if building it now would give the same."""
        if self._module is not None and not (self._reads and self._reads.unchanged()):
            self._module, self._loads, self.size = None, [], 0
        return self._module

    def found(self, structure: Structure, how: object) -> tuple[Structure, Outcome] | None:
        """What a load of the same structure found, in the same way."""
        found = (each for known, way, each in self._loads if way == how and _is_like(known, structure))
        return next(found, None)

    def observed(self) -> Any:
        """The class or function, as one whose call is watched."""

        @functools.wraps(self._target, updated=())
        def make(**kwargs: Any) -> Any:
            made, self._reads = observed(self._target, **kwargs)
            return made

        return make

    def keep(self, module: nn.Module, sure: bool) -> None:
        """Keeps a module that was built by ``observed``.

        Args:
            module: after a load.
            sure: whether nothing in its build was in doubt.
        """
        if module is self._module:
            return
        parts, reads = list(parts_of(module)), self._reads
        if sure and reads is not None and _is_left_as_it_is(parts):
            reads.finish({type(part) for part in parts})
            if reads.pure:
                self._module, self._loads, self.size = module, [], len(parts)
                return
        self._tries += 1

    def keep_load(self, structure: Structure, how: object, found: tuple[Structure, Outcome]) -> None:
        """Keeps what a load into the module that is kept has found."""
        if self._module is not None and not (structure.objects or structure.contents):
            self._loads = [(structure, how, found), *self._loads[: _LOADS - 1]]


class Builds:
    """The definitions that are kept in one run.

    Args:
        registrations: every registered checkpoint, once all are known.
    """

    def __init__(self, registrations: Sequence[Registration]) -> None:
        self._registrations = registrations
        self._kept: OrderedDict[object, Kept] = OrderedDict()

    def of(self, registration: Registration, definition: Definition) -> Definition:
        """The definition of a registered checkpoint, which is kept if others are registered with it."""
        plainly = not (definition.parts or definition.loader or definition.library or definition.remap)
        if not plainly or definition.reads_checkpoint or is_module(definition.target):
            return definition
        if self._repeats[_written(registration)] < 2:
            return definition
        kwargs = alike(definition.kwargs)
        key = Same(definition.target), kwargs
        kept = self._kept.pop(key, None) or Kept(definition.target, kwargs)
        while self._kept and sum(each.size for each in self._kept.values()) + kept.size > _MODULES:
            self._kept.popitem(last=False)
        self._kept[key] = kept
        return replace(definition, kept=kept)

    @functools.cached_property
    def _repeats(self) -> Counter[object]:
        """How many checkpoints are registered with a model and its arguments."""
        found = Counter(map(_written, self._registrations))
        del found[None]
        return found


def _written(registration: Registration) -> object:
    """What is equal for the same model with the same arguments; None where these cannot be compared."""
    model, given = registration.model, alike(registration.kwargs)
    if not isinstance(model, str):
        model = f"{getattr(model, '__module__', '')}:{getattr(model, '__qualname__', id(model))}"
    return None if given is OPAQUE else (model, given)


def _is_like(one: Structure, other: Structure) -> bool:
    """Whether two structures have everything alike that a load into the same module depends on."""
    return (
        list(one.tensors.items()) == list(other.tensors.items())
        and one.aliases == other.aliases
        and one.versions == other.versions
        and one.strides == other.strides
        and not (other.objects or other.contents)
    )


def _is_left_as_it_is(parts: Sequence[nn.Module]) -> bool:
    """Whether a load changes nothing in a module but values, and no code but torch's saves or loads it."""
    import torch

    kinds = {type(part) for part in parts}
    methods = (getattr(kind, name, None) for kind in kinds for name in _METHODS)
    if not all(getattr(each, "__module__", "torch").partition(".")[0] == "torch" for each in methods if each):
        return False
    if not all(kind._load_from_state_dict.__module__ in _COPYING for kind in kinds):
        return False
    if (
        lightning.has_hook(parts[0])
        or is_peft_model(parts[0])
        or torch.__future__.get_swap_module_params_on_conversion()
    ):
        return False
    ordinary = {torch.Tensor, torch.nn.Parameter}
    hooks = (*_HOOKS, "_state_dict_hooks", *_METHODS)
    return not any(part.__dict__.get(name) for part in parts for name in hooks) and all(
        type(each) in ordinary and each.is_meta for each in tensors_of(parts[0])
    )
