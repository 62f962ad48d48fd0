"""Which parameter of today's optimizer goes on with which saved state: torch pairs them by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import OBJECT, OptimizerState, Structure
from pytest_ckpt_compat._definition.optimizers import parameters_of

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Names that a line gives before it stops.
_NAMES = 3


@dataclass(frozen=True)
class Today:
    """An optimizer as the code makes it now.

    Attributes:
        optimizer: the optimizer.
        groups: keys of its parameters, group by group.
        buffers: keys of the model's buffers.
        in_order: whether each group's parameters come in the order in which the model has them.
    """

    optimizer: torch.optim.Optimizer
    groups: tuple[tuple[str, ...], ...]
    buffers: frozenset[str]
    in_order: bool

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all its parameters, in the order of the groups."""
        return tuple(chain.from_iterable(self.groups))

    @property
    def parameters(self) -> list[torch.Tensor]:
        """The parameters themselves, in the same order."""
        return parameters_of(self.optimizer)


def today_of(optimizer: torch.optim.Optimizer, module: nn.Module) -> Today:
    """What is known of an optimizer over a module's parameters."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = tuple(tuple(names.get(id(p), "?") for p in g["params"]) for g in optimizer.param_groups)
    places = {name: place for place, name in enumerate(names.values())}
    found = [[places.get(name, -1) for name in group] for group in groups]
    return Today(
        optimizer,
        groups,
        buffers=frozenset(name for name, _ in module.named_buffers()),
        in_order=all(-1 not in each and each == sorted(set(each)) for each in found),
    )


@dataclass(frozen=True)
class Saved:
    """An optimizer's state as the checkpoint has it.

    Attributes:
        state: the state.
        keys: keys of its parameters as the checkpoint calls them, in order; () where not known.
        now: those keys as they are called today.
    """

    state: OptimizerState
    keys: tuple[str, ...] = ()
    now: tuple[str, ...] = ()


def saved_of(state: OptimizerState, structure: Structure, renames: Mapping[str, str], today: Today) -> Saved:
    """What is known of a saved state.

    Args:
        state: the state.
        structure: the checkpoint that it is in.
        renames: key in the checkpoint -> key today.
        today: the optimizer that it would be loaded into.
    """
    keys = _named(state) or _in_order(state, structure, renames, today)
    return Saved(state, keys, tuple(renames.get(key, key) for key in keys))


def _named(state: OptimizerState) -> tuple[str, ...]:
    """The keys of the parameters, if the file tells them."""
    numbers = tuple(chain.from_iterable(state.groups))
    if by_name(state):
        return tuple(map(str, numbers or state.states))
    named = [each.get("param_names") or () for each in state.options]
    listed = tuple(name for each in named if isinstance(each, (list, tuple)) for name in each)
    return tuple(map(str, listed)) if len(listed) == len(numbers) else ()


def _in_order(
    state: OptimizerState, structure: Structure, renames: Mapping[str, str], today: Today
) -> tuple[str, ...]:
    """The keys of the parameters, where they can be told by their places.

    An optimizer that takes the model's parameters, group by group, as they come today did so before;
    then those of a group are in the order of the state_dict: all of them, or all that today's group
    has, whichever agrees in number and in every shape. A state_dict in the order of the alphabet has
    no order to go by.
    """
    twins = {key for group in structure.aliases for key in group[1:]}
    known = [key for key, spec in structure.tensors.items() if spec.dtype != OBJECT and key not in twins]
    if not today.in_order or len(state.groups) != len(today.groups) or known == sorted(known):
        return ()
    names = {key: renames.get(key, key) for key in known}
    owners = {key: number for number, keys in enumerate(today.groups) for key in keys}
    split: list[list[str]] = [[] for _ in today.groups]
    for key in known:
        if names[key] in owners:
            split[owners[names[key]]].append(key)
    guesses = [split]
    if len(today.groups) == 1:
        guesses.insert(0, [[key for key in known if names[key] not in today.buffers]])
    for groups in guesses:
        if all(_agree(keys, n, state, structure) for keys, n in zip(groups, state.groups, strict=True)):
            return tuple(chain.from_iterable(groups))
    return ()


def _agree(
    keys: Sequence[str], numbers: Sequence[int | str], state: OptimizerState, structure: Structure
) -> bool:
    """Whether each key's tensor is of a shape to which the state in its place fits."""
    return len(keys) == len(numbers) and all(
        _fits(structure.tensors[key].shape, [spec.shape for spec in fields.values() if spec.shape])
        for key, number in zip(keys, numbers, strict=True)
        if (fields := state.states.get(number))
    )


def _fits(shape: tuple[int, ...], shapes: list[tuple[int, ...]]) -> bool:
    """Whether a state is of a parameter's shape, or has but parts of it: rows and columns."""
    parts = all(set(each) <= {1, *shape} and len(each) <= len(shape) for each in shapes)
    return shape in shapes or parts


def pairs_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the project's own code decides which parameter gets which state."""
    import torch

    own = type(optimizer).load_state_dict is not torch.optim.Optimizer.load_state_dict
    return own or bool(getattr(optimizer, "_optimizer_load_state_dict_pre_hooks", None))


def by_name(state: OptimizerState) -> bool:
    """Whether parameters go by their keys, as ``torch.distributed.checkpoint`` saves them."""
    numbers = [*chain.from_iterable(state.groups), *state.states]
    return bool(numbers) and all(isinstance(each, str) for each in numbers)


def numbers_of(state: OptimizerState, today: Today) -> Sequence[Sequence[int | str]]:
    """The numbers or names in each group; today's, where the file goes by names or keeps them apart."""
    if by_name(state):
        return today.groups
    if state.groups:
        return state.groups
    numbers = count()
    return [[next(numbers) for _ in keys] for keys in today.groups]


def mismatch(detail: str, old: str | None = None, new: str | None = None) -> Change:
    """A CK403, about the parameters of these keys if they are given."""
    return Change("optimizer-mismatch", (old,) if old else (), (new,) if new else (), detail=detail)


def regrouped(saved: Saved, today: Today) -> list[Change]:
    """Numbers of groups and of parameters in them: what torch compares; then the keys, where known."""
    before = [len(numbers) for numbers in saved.state.groups]
    now = [len(keys) for keys in today.groups]
    if len(before) != len(now) and not (by_name(saved.state) and not before):
        begins = _some([keys[0] for keys in today.groups if keys])
        return [mismatch(f"parameter groups {len(before)} -> {len(now)} (today's begin with {begins})")]
    if by_name(saved.state):
        return []
    found = moved(saved, today) if saved.keys and before != now else []
    return found or [
        mismatch(f"parameters in group {number} ({_some(keys)}): {old} -> {new}")
        for number, (old, new, keys) in enumerate(zip(before, now, today.groups, strict=True))
        if old != new
    ]


def moved(saved: Saved, today: Today) -> list[Change]:
    """Parameters that only one side's optimizer has."""
    known, keys = set(saved.now), set(today.keys)
    pairs = zip(saved.keys, saved.now, strict=True)
    # By names, what the file has besides is left alone.
    gone = [] if by_name(saved.state) else [key for key, name in pairs if name not in keys]
    # A file that keeps its groups apart has names only of parameters that have a state.
    fresh = [key for key in today.keys if key not in known] if saved.state.groups else []
    return [
        *(mismatch("the optimizer no longer has it", old=key) for key in gone),
        *(mismatch("new in the optimizer: the checkpoint has no state for it", new=key) for key in fresh),
    ]


def swapped(saved: Saved, today: Today) -> list[Change]:
    """Parameters that would go on with the state of another: torch pairs them by their places."""
    keys, state = set(today.keys), saved.state
    detail = "their order changed: the second would go on with the state of the first"
    places = zip(chain.from_iterable(state.groups), saved.keys, saved.now, today.keys, strict=False)
    return [
        mismatch(detail, old, new)
        for number, old, now, new in places
        if now != new and now in keys and _has_state(state, number)
    ]


def _has_state(state: OptimizerState, number: int | str) -> bool:
    values = state.values.get(number, {}).values()
    return bool(state.states.get(number)) or any(value is not None for value in values)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
