"""The states of optimizers in a checkpoint: which parameters they know, and the shapes they keep.

An optimizer state is known by its structure: a mapping with ``state`` and ``param_groups``, as
``torch.optim.Optimizer.state_dict`` gives it.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from pytest_ckpt_compat.readers import limits
from pytest_ckpt_compat.readers.containers import mapping_of
from pytest_ckpt_compat.readers.inert import Made, Tensor
from pytest_ckpt_compat.readers.limits import over_limit
from pytest_ckpt_compat.structure import OptimizerState, TensorSpec


def optimizer_states(root: Any) -> dict[str, OptimizerState]:
    """Dotted path in the checkpoint -> optimizer state, the less deeply nested first; each once."""
    found: dict[str, OptimizerState] = {}
    pending: deque[tuple[tuple[str, ...], Any]] = deque([((), root)])
    seen = {id(root)}
    room = limits.KEYS
    while pending:
        path, value = pending.popleft()
        items = _items(value)
        if isinstance(items.get("param_groups"), (list, dict)) and mapping_of(items.get("state")) is not None:
            state = _state(items)
            room -= sum(map(len, state.groups)) + sum(map(len, state.states.values()))
            if room < 0 or len(found) >= limits.OPTIMIZERS:
                raise over_limit("entries in its optimizer states", limits.KEYS)
            found[".".join(path)] = state
        elif len(path) < limits.SEARCH_DEPTH:
            for name, part in items.items():
                if type(part) in _SEARCHED and id(part) not in seen and type(name) is str:
                    seen.add(id(part))
                    pending.append(((*path, name), part))
    return found


_SEARCHED = frozenset({dict, list, Made})


def _items(value: Any) -> dict[Any, Any]:
    if type(value) is Made and value.entries is None:
        return value.state if isinstance(value.state, dict) else {}
    if type(value) is list:
        return {str(number): part for number, part in enumerate(islice(value, limits.SEARCH_LENGTH))}
    return mapping_of(value) or {}


def _state(items: dict[Any, Any]) -> OptimizerState:
    groups = []
    listed = items["param_groups"]
    for group in listed if isinstance(listed, list) else ():
        params = group.get("params") if isinstance(group, dict) else None
        groups.append(_ids(params if isinstance(params, list) else ()))
    states = {
        name: {
            field: TensorSpec(part.dtype, part.size)
            for field, part in (mapping_of(fields) or {}).items()
            if type(field) is str and type(part) is Tensor
        }
        for name, fields in (mapping_of(items["state"]) or {}).items()
        if type(name) in (int, str)
    }
    return OptimizerState(tuple(groups), states)


def _ids(params: Any) -> tuple[int | str, ...]:
    """The numbers or names of a group's parameters; their place where they are tensors."""
    return tuple([param if type(param) in (int, str) else place for place, param in enumerate(params)])
