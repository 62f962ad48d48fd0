"""Runs the code of a migration on stand-ins that know where they come from, and compares with the plan."""

from __future__ import annotations

import copy
import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.structure import Structure, alias_groups
from pytest_ckpt_compat._definition.arrivals import arrivals
from pytest_ckpt_compat._definition.build import build
from pytest_ckpt_compat._definition.chain import single
from pytest_ckpt_compat._definition.empty_state import empty_state
from pytest_ckpt_compat._definition.entries import identity, spec_of
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import is_module
from pytest_ckpt_compat._definition.observation import quiet_copies
from pytest_ckpt_compat._definition.operations import carried_out
from pytest_ckpt_compat._definition.origins import Origins
from pytest_ckpt_compat._definition.surroundings import untouched_globals
from pytest_ckpt_compat._migrate.steps import COPY, Step

if TYPE_CHECKING:
    from torch import nn

#: Turns the state_dict of a checkpoint into that of today's model.
Migration = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Traced:
    """Where the numbers of each new key come from.

    Attributes:
        wanted: key -> origin, by the plan.
        given: key -> origin, by the code.
        error: what the code raised, or "".
    """

    wanted: Mapping[str, Hashable]
    given: Mapping[str, Hashable]
    error: str = ""

    @property
    def wrong(self) -> tuple[str, ...]:
        """The keys that have other numbers than the plan says, or that only one of both has."""
        keys = dict.fromkeys((*self.wanted, *self.given))
        return tuple(key for key in keys if self.wanted.get(key) != self.given.get(key))


def compiled(source: str, name: str) -> Any:
    """The function of a name that generated code defines."""
    space: dict[str, Any] = {"__name__": "migration"}
    exec(compile(source, "<migration>", "exec"), space)  # noqa: S102 - it is ours; names in it are literals
    return space[name]


def traced(migrate: Migration, steps: Iterable[Step], structure: Structure) -> Traced:
    """Runs a migration on tensors without numbers.

    Args:
        migrate: the migration.
        steps: what it is to do; keys that they do not name stay.
        structure: the checkpoint.

    Raises:
        ReadError: tensors of the checkpoint cannot stand in without their numbers.
    """
    state = empty_state(structure, "meta")
    origins = Origins(state)
    with origins.watched():
        wanted = {key: origins.of(value) for key, value in _expected(steps, state).items()}
        try:
            made = migrate(_copied(state))
        except Exception as error:
            return Traced(wanted, {}, f"{type(error).__name__}: {error}")
        return Traced(wanted, {key: origins.of(value) for key, value in made.items()})


def _copied(state: Mapping[str, Any]) -> Mapping[str, Any]:
    own: Any = OrderedDict(state)
    if hasattr(state, "_metadata"):
        own._metadata = copy.deepcopy(state._metadata)
    return own  # type: ignore[no-any-return]


def _expected(steps: Iterable[Step], state: Mapping[str, Any]) -> dict[str, Any]:
    """The plan, carried out key by key without any rule."""
    found: dict[str, Any] = {}
    taken: set[str] = set()
    for step in steps:
        found |= carried_out(step, state.__getitem__)
        if step.op != COPY:
            taken.update(step.old)
    return {**{key: value for key, value in state.items() if key not in taken}, **found}


def with_migration(definition: Definition, migrate: Migration) -> Definition:
    """The definition, with a migration before its load."""
    return replace(definition, remap=single(migrate, "as written"))


def with_hooks(definition: Definition, hook: Any, paths: Sequence[str], version: int) -> Definition:
    """The definition as it is once its modules at some paths register a hook.

    Args:
        definition: the definition.
        hook: for ``register_load_state_dict_pre_hook``.
        paths: the modules.
        version: what the modules' class then has as ``_version``; 0 if that does not change.
    """

    def attach(module: nn.Module) -> nn.Module:
        parts = dict(module.named_modules(remove_duplicate=False))
        for part in {id(parts[path]): parts[path] for path in paths if path in parts}.values():
            registering: Any = part.register_load_state_dict_pre_hook
            registering(hook)
            if version:
                part._version = version
        return module

    target: Any = definition.target
    if is_module(target):
        return replace(definition, target=lambda: attach(copy.deepcopy(definition.target)))
    if not inspect.isclass(target):

        @functools.wraps(target)
        def factory(*args: Any, **kwargs: Any) -> Any:
            return attach(target(*args, **kwargs))

        return replace(definition, target=factory)

    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        target.__init__(self, *args, **kwargs)
        built: Any = self
        if type(self) is hooked:
            attach(built)

    construct.__signature__ = inspect.signature(target)  # type: ignore[attr-defined]
    names = {"__init__": construct, "__module__": target.__module__, "__qualname__": target.__qualname__}
    hooked = type(target.__name__, (target,), names)
    return replace(definition, target=hooked)


def traced_load(
    definition: Definition, hooked: Definition, steps: Iterable[Step], structure: Structure
) -> Traced:
    """Loads a checkpoint of tensors without numbers, and compares what reaches each parameter and buffer.

    Args:
        definition: without the hooks: it is given what the plan makes of the checkpoint.
        hooked: with the hooks: it is given the checkpoint.
        steps: the plan; keys that it does not name stay.
        structure: the checkpoint.

    Raises:
        BuildError: the definition cannot be built.
        ReadError: tensors of the checkpoint cannot stand in without their numbers.
    """
    modules = [build(each, structure.values) for each in (definition, hooked)]
    state = empty_state(structure, "meta")
    origins = Origins(state, modules)
    with untouched_globals(), quiet_copies(), origins.watched():
        planned: Any = OrderedDict(_expected(steps, state))
        if hasattr(state, "_metadata"):
            planned._metadata = state._metadata
        wanted, own = arrivals(modules[0], planned, origins)
        given, error = arrivals(modules[1], _copied(state), origins)
    if not wanted:
        error = own or "nothing that can be watched: the model loads in a way of its own"
    return Traced(wanted, given, error if not wanted or error != own else "")


def structure_after(migrate: Migration, structure: Structure) -> Structure:
    """The structure of what a migration makes of a checkpoint."""
    made = migrate(_copied(empty_state(structure, "meta")))
    specs = {key: spec_of(value) for key, value in made.items()}
    same = {key: identity(value) for key, value in made.items() if specs[key].numel}
    return replace(
        structure, tensors=specs, aliases=alias_groups(same), locations={}, strides={}, contents={}, views=()
    )
