"""Finds the states of optimizers in a checkpoint: their parameters, and the values kept for each.

The state of an optimizer is a mapping with ``state`` and ``param_groups``, as
``torch.optim.Optimizer.state_dict`` returns it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sized
from itertools import chain, count, islice
from typing import Any

from pytest_ckpt_compat._core.structure import OptimizerState, TensorSpec
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import over_limit
from pytest_ckpt_compat._readers.pickle.inert import Made, Tensor
from pytest_ckpt_compat._readers.state_dict.containers import mapping_of
from pytest_ckpt_compat._readers.state_dict.plain_values import already_plain


def optimizer_states(root: Any) -> dict[str, OptimizerState]:
    """Returns dotted path in the checkpoint -> optimizer state, the least nested first, each once."""
    found: dict[str, OptimizerState] = {}
    pending: deque[tuple[tuple[str, ...], Any]] = deque([((), root)])
    seen = {id(root)}
    room = limits.OPTIMIZER_ENTRIES
    known: dict[int, int] = {}
    while pending:
        path, value = pending.popleft()
        items = _items(value)
        if isinstance(items.get("param_groups"), (list, tuple, dict)) and _is_mapping(items.get("state")):
            groups = _groups(items["param_groups"])
            room -= _size((*groups, *map(_params, groups)))
            if room < 0 or len(found) >= limits.OPTIMIZERS:
                raise over_limit("entries in its optimizer states", limits.OPTIMIZER_ENTRIES)
            states = _entries(items["state"], groups)
            room -= _size(states.values())
            if room < 0:
                raise over_limit("entries in its optimizer states", limits.OPTIMIZER_ENTRIES)
            found[".".join(path)] = _state(groups, states, known)
        elif len(path) < limits.SEARCH_DEPTH:
            for name, part in items.items():
                if isinstance(part, _SEARCHED) and id(part) not in seen and type(name) in (str, int):
                    seen.add(id(part))
                    pending.append(((*path, str(name)), part))
    return found


_SEARCHED = (dict, list, tuple, Made)


def _items(value: Any) -> dict[Any, Any]:
    if type(value) is Made and value.entries is None:
        return value.state if isinstance(value.state, dict) else {}
    if type(value) in (list, tuple):
        return {str(number): part for number, part in enumerate(islice(value, limits.SEARCH_LENGTH))}
    return mapping_of(value) or {}


_Groups = list[dict[Any, Any]]
_States = dict[int | str, dict[Any, Any]]


def _is_mapping(value: Any) -> bool:
    """Whether a value is a mapping. An empty ``defaultdict`` has no items to show that it is one."""
    return mapping_of(value) is not None or (
        type(value) is Made and str(value.maker).startswith("collections.")
    )


def _groups(listed: Any) -> _Groups:
    return [g for g in listed if isinstance(g, dict)] if isinstance(listed, (list, tuple)) else []


def _params(group: dict[Any, Any]) -> list[Any]:
    params = group.get("params")
    return params if isinstance(params, list) else []


def _entries(states: Any, groups: _Groups) -> _States:
    """Returns the states by number or name; by index in a pickled optimizer, which keys by parameter."""
    indexes = {id(param): index for index, param in enumerate(chain.from_iterable(map(_params, groups)))}
    found: _States = {}
    for key, entry in (mapping_of(states) or {}).items():
        number = key if type(key) in (int, str) else indexes.get(id(key))
        fields = mapping_of(entry)
        if number is not None and fields is not None:
            found[number] = fields
    return found


def _size(parts: Iterable[Sized]) -> int:
    """Counts the entries of all parts, repeated parts each time."""
    return sum(map(len, parts))


def _state(groups: _Groups, states: _States, known: dict[int, int]) -> OptimizerState:
    settings = [_named(group, but="params") for group in groups]
    options = [already_plain(each, known) for each in settings]
    unread = (name for each, plain in zip(settings, options, strict=True) for name in each.keys() - plain)
    values = {number: already_plain(_named(fields), known) for number, fields in states.items()}
    opaque = {
        name
        for number, fields in states.items()
        for name, part in _named(fields).items()
        if type(part) is not Tensor and name not in values[number]
    }
    return OptimizerState(
        groups=_ids(groups),
        states={number: _specs(fields) for number, fields in states.items()},
        options=tuple(options),
        values={number: kept for number, kept in values.items() if kept},
        unread=tuple(sorted(set(unread))),
        opaque=tuple(sorted(opaque)),
    )


def _named(items: dict[Any, Any], but: str = "") -> dict[str, Any]:
    return {name: value for name, value in items.items() if type(name) is str and name != but}


def _specs(fields: dict[Any, Any]) -> dict[str, TensorSpec]:
    tensors = {name: part for name, part in _named(fields).items() if type(part) is Tensor}
    return {name: TensorSpec(part.dtype, part.size) for name, part in tensors.items()}


def _ids(groups: _Groups) -> tuple[tuple[int | str, ...], ...]:
    """Returns the numbers or names of each group's parameters; their indexes if they are tensors."""
    indexes, found = count(), []
    for group in groups:
        pairs = zip(_params(group), indexes, strict=False)
        found.append(tuple([param if type(param) in (int, str) else index for param, index in pairs]))
    return tuple(found)
