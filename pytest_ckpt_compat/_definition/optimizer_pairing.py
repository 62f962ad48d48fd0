"""Finds which parameter of today's optimizer resumes from which saved state: torch pairs by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count as count_of
from pytest_ckpt_compat._core.structure import OBJECT, OptimizerState, Structure, TensorSpec
from pytest_ckpt_compat._definition.optimizers import parameters_of

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Most names listed in one line.
_NAMES = 3


@dataclass(frozen=True)
class CurrentOptimizer:
    """An optimizer as the code makes it now.

    Attributes:
        optimizer: the optimizer.
        groups: keys of its parameters, group by group.
        buffers: keys of the model's buffers.
        in_order: whether the parameters of each group are in the model's order.
    """

    optimizer: torch.optim.Optimizer
    groups: tuple[tuple[str, ...], ...]
    buffers: frozenset[str]
    in_order: bool

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all parameters, in the order of the groups."""
        return tuple(chain.from_iterable(self.groups))

    @property
    def parameters(self) -> list[torch.Tensor]:
        """All parameters, in the order of the groups."""
        return parameters_of(self.optimizer)


def current_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module) -> CurrentOptimizer:
    """Describes an optimizer by the keys of a module's parameters."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = tuple(tuple(names.get(id(p), "?") for p in g["params"]) for g in optimizer.param_groups)
    positions = {name: position for position, name in enumerate(names.values())}
    found = [[positions.get(name, -1) for name in group] for group in groups]
    return CurrentOptimizer(
        optimizer,
        groups,
        buffers=frozenset(name for name, _ in module.named_buffers()),
        in_order=all(-1 not in each and each == sorted(set(each)) for each in found),
    )


@dataclass(frozen=True)
class SavedOptimizer:
    """The state of an optimizer in the checkpoint.

    Attributes:
        state: the state.
        keys: keys of its parameters in the checkpoint, in order; () if they are not known.
        now: the same keys under their present names.
        before: present key -> key in the checkpoint.
    """

    state: OptimizerState
    keys: tuple[str, ...] = ()
    now: tuple[str, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)


def saved_optimizer(
    state: OptimizerState, structure: Structure, renames: Mapping[str, str], today: CurrentOptimizer
) -> SavedOptimizer:
    """Finds the keys of a saved state's parameters, as far as they can be known.

    Args:
        state: the state.
        structure: the checkpoint that holds it.
        renames: key in the checkpoint -> present key.
        today: the optimizer to load it into.
    """
    keys = _named(state) or _in_order(state, structure, renames, today)
    before = {renames.get(key, key): key for key in (*keys, *structure.tensors)}
    return SavedOptimizer(state, keys, tuple(renames.get(key, key) for key in keys), before)


def _named(state: OptimizerState) -> tuple[str, ...]:
    """Returns the keys of the parameters if the file has them, else ()."""
    numbers = tuple(chain.from_iterable(state.groups))
    if by_name(state):
        return tuple(map(str, numbers or state.states))
    named = [each.get("param_names") or () for each in state.options]
    listed = tuple(name for each in named if isinstance(each, (list, tuple)) for name in each)
    return tuple(map(str, listed)) if len(listed) == len(numbers) else ()


def _in_order(
    state: OptimizerState, structure: Structure, renames: Mapping[str, str], today: CurrentOptimizer
) -> tuple[str, ...]:
    """Returns the keys of the parameters if their order determines them, else ().

    If today's optimizer takes the model's parameters in order, group by group, the saved one
    presumably did too. Then the parameters of a group are in the order of the state_dict: either all
    of them, or those in today's group, whichever agrees in number and in every shape. An
    alphabetical state_dict does not show the model's order, so it determines nothing.
    """
    aliases = {key for group in structure.aliases for key in group[1:]}
    known = [key for key, spec in structure.tensors.items() if spec.dtype != OBJECT and key not in aliases]
    parts = [f"{part}." for part, _ in structure.source.parts]
    if parts:  # those of which it has no parameter have optimizers of their own
        mine = tuple(part for part in parts if any(key.startswith(part) for key in today.keys))
        known = [key for key in known if key.startswith(mine)]
    if len(state.groups) != len(today.groups):
        return _one_group_after_another(state, structure, known, renames, today)
    if not today.in_order or known == sorted(known):
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
    return _some_of(guesses[0][0], state, structure) if len(today.groups) == 1 else ()


def _some_of(known: Sequence[str], state: OptimizerState, structure: Structure) -> tuple[str, ...]:
    """The keys, in order, that the states of one group fit, where only one choice of them does.

    An optimizer over what was not frozen has such a part of the parameters.
    """
    shapes = [
        [spec.shape for spec in state.states.get(number, {}).values() if spec.shape]
        for number in state.groups[0]
    ]
    if not all(shapes) or len(shapes) >= len(known):
        return ()
    tensors = structure.tensors
    first = _first_fit(known, shapes, tensors)
    last = _first_fit(known[::-1], shapes[::-1], tensors)
    return first if len(first) == len(shapes) and first == last[::-1] else ()


def _first_fit(
    keys: Sequence[str], shapes: Sequence[list[tuple[int, ...]]], tensors: Mapping[str, TensorSpec]
) -> tuple[str, ...]:
    """For each of some states in turn, the next key of its shape."""
    left = iter(keys)
    found = (next((key for key in left if tensors[key].shape in each), None) for each in shapes)
    return tuple(key for key in found if key is not None)


def _one_group_after_another(
    state: OptimizerState,
    structure: Structure,
    known: Sequence[str],
    renames: Mapping[str, str],
    today: CurrentOptimizer,
) -> tuple[str, ...]:
    """The keys of groups that part the model's parameters one after another; () unless all shapes agree."""
    left = iter([key for key in known if renames.get(key, key) not in today.buffers])
    groups = [tuple(islice(left, len(numbers))) for numbers in state.groups]
    complete = next(left, None) is None and all(
        any(spec.shape for spec in f.values()) for f in state.states.values()
    )
    agree = all(_agree(keys, n, state, structure) for keys, n in zip(groups, state.groups, strict=True))
    return tuple(chain.from_iterable(groups)) if complete and agree else ()


def _agree(
    keys: Sequence[str], numbers: Sequence[int | str], state: OptimizerState, structure: Structure
) -> bool:
    """Whether the state at each position fits the shape of that key's tensor."""
    return len(keys) == len(numbers) and all(
        _fits(structure.tensors[key].shape, [spec.shape for spec in fields.values() if spec.shape])
        for key, number in zip(keys, numbers, strict=True)
        if (fields := state.states.get(number))
    )


def _fits(shape: tuple[int, ...], shapes: list[tuple[int, ...]]) -> bool:
    """Whether a state has the parameter's shape, or only parts of it such as rows and columns."""
    parts = all(set(each) <= {1, *shape} and len(each) <= len(shape) for each in shapes)
    return shape in shapes or parts


def pairs_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the project's own code pairs parameters with states, by an override or a hook."""
    import torch

    own = type(optimizer).load_state_dict is not torch.optim.Optimizer.load_state_dict
    return own or bool(getattr(optimizer, "_optimizer_load_state_dict_pre_hooks", None))


def by_name(state: OptimizerState) -> bool:
    """Whether the state identifies parameters by key, as ``torch.distributed.checkpoint`` does."""
    numbers = [*chain.from_iterable(state.groups), *state.states]
    return bool(numbers) and all(isinstance(each, str) for each in numbers)


def numbers_of(state: OptimizerState, today: CurrentOptimizer) -> Sequence[Sequence[int | str]]:
    """Returns the numbers or names in each group; today's if the file uses names or has no groups."""
    if by_name(state):
        return today.groups
    if state.groups:
        return state.groups
    numbers = count()
    return [[next(numbers) for _ in keys] for keys in today.groups]


def mismatch(detail: str, old: str | None = None, new: str | None = None) -> Change:
    """Makes a change of rule CK403, about the parameters ``old`` and ``new`` if they are given."""
    return Change("optimizer-mismatch", (old,) if old else (), (new,) if new else (), detail=detail)


def regrouped(saved: SavedOptimizer, today: CurrentOptimizer) -> list[Change]:
    """Compares the numbers of groups and of their parameters, as torch does, and the keys if known."""
    before = [len(numbers) for numbers in saved.state.groups]
    now = [len(keys) for keys in today.groups]
    if len(before) != len(now) and not (by_name(saved.state) and not before):
        ours, theirs = _listed(_in_groups(saved), before), _listed(today.groups, now)
        counts = f"parameter groups {len(before)} -> {len(now)}"
        return [mismatch(f"{counts}: the file's hold {ours}, today's hold {theirs} parameters")]
    if by_name(saved.state):
        return []
    found = on_one_side(saved, today) if saved.keys and before != now else []
    advice = f"{_sizes(before, now)}: restore the parameters and their groups, or start the optimizer anew"
    found = [replace(each, advice=advice) for each in found]
    return found or [
        mismatch(f"parameters in group {number} ({_some(keys)}): {old} -> {new}")
        for number, (old, new, keys) in enumerate(zip(before, now, today.groups, strict=True))
        if old != new
    ]


def on_one_side(saved: SavedOptimizer, today: CurrentOptimizer) -> list[Change]:
    """Finds parameters that only the saved or only today's optimizer has."""
    known, keys = set(saved.now), set(today.keys)
    pairs = zip(saved.keys, saved.now, strict=True)
    # Loading by name ignores additional entries of the file.
    dropped = [] if by_name(saved.state) else [key for key, name in pairs if name not in keys]
    # A file without groups in its header names only the parameters that have a state.
    added = [key for key in today.keys if key not in known] if saved.state.groups else []
    return [
        *(mismatch("the optimizer no longer has it", old=key) for key in dropped),
        *(mismatch("new in the optimizer: the checkpoint has no state for it", new=key) for key in added),
    ]


def _sizes(before: Sequence[int], now: Sequence[int]) -> str:
    """``group 0 has 10 parameters in the file and 3 here``, for each group of another size."""
    changed = [
        f"group {number} has {count_of(old, 'parameter')} in the file and {new} here"
        for number, (old, new) in enumerate(zip(before, now, strict=True))
        if old != new
    ]
    return _some(changed)


def _listed(groups: Sequence[Sequence[str]], sizes: Sequence[int]) -> str:
    """``6 (body.0.weight, body.0.bias, ...) and 2 (head.weight, head.bias)``, or sizes alone."""
    keys = groups if len(groups) == len(sizes) else [()] * len(sizes)
    each = [f"{size} ({_some(k)})" if k else str(size) for size, k in zip(sizes, keys, strict=True)]
    return " and ".join(each) if len(each) <= _NAMES else _some(each)


def _in_groups(saved: SavedOptimizer) -> list[tuple[str, ...]]:
    """The keys in each group of a saved optimizer; none where they are not known."""
    left = iter(saved.keys)
    return [tuple(islice(left, len(numbers))) for numbers in saved.state.groups] if saved.keys else []


def swapped(saved: SavedOptimizer, today: CurrentOptimizer) -> list[Change]:
    """Finds parameters that would resume from the state of another, because torch pairs by position."""
    keys, state = set(today.keys), saved.state
    detail = "their order changed: the second would resume from the state of the first"
    positions = zip(chain.from_iterable(state.groups), saved.keys, saved.now, today.keys, strict=False)
    return [
        mismatch(detail, old, new)
        for number, old, now, new in positions
        if now != new and now in keys and _has_state(state, number)
    ]


def _has_state(state: OptimizerState, number: int | str) -> bool:
    values = state.values.get(number, {}).values()
    return bool(state.states.get(number)) or any(value is not None for value in values)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
