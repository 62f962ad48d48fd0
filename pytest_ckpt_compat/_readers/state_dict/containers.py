"""Searches a checkpoint for its state_dict.

A state_dict is a mapping whose keys are all text and whose values include tensors, or a pickled
``nn.Module``. The state of an optimizer is neither. Among several, one under a usual name of a model
goes first, then the least nested one. The user chooses between equals: ``key="model"``,
``key="ema"``. A check, which knows the definition, chooses among all of them by what fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.structure import EXTRA_STATE
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import ChoiceRefusalError, RefusalError
from pytest_ckpt_compat._readers.pickle.inert import Made, Tensor
from pytest_ckpt_compat._readers.state_dict.modules import has_tensors, is_module, module_entries
from pytest_ckpt_compat._readers.state_dict.nothing import SAVE, is_random_state, no_tensors
from pytest_ckpt_compat._readers.state_dict.quantized import is_packed

_NAMES = (
    *("model", "model_state", "model_state_dict", "model_weights", "module", "net", "net_state_dict"),
    *("network", "params", "state_dict", "weights"),
)
#: With those of moving averages: where a file has both, neither goes first.
_MODEL_NAMES = frozenset(
    {
        *_NAMES,
        *(form for name in _NAMES for form in (f"{name}_ema", f"ema_{name}")),
        *("ema", "g_ema", "model_ema_state_dict"),
    }
)

#: Never searched: other parts of training checkpoints, which may hold tensors.
_OTHER_NAMES = frozenset(
    {
        *("opt", "optim", "optimizer", "optimizers", "optimizer_state", "optimizer_states"),
        *("optimizer_state_dict", "scheduler", "schedulers", "scheduler_state_dict", "lr_scheduler"),
        *("lr_schedulers", "scaler", "amp_scaler", "grad_scaler", "callbacks", "loops", "metrics"),
        *("args", "cfg", "config", "hparams", "hyper_parameters", "rng", "rng_state", "rng_states"),
    }
)

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A value in a checkpoint, and the names that lead to it.

    Attributes:
        path: the names.
        value: the value.
        others: the state_dicts that were found besides, if a search chose this one.
    """

    path: tuple[str, ...]
    value: Any
    others: tuple[Found, ...] = ()

    @property
    def key(self) -> str:
        """The path, dotted as in ``key=``."""
        return ".".join(self.path)

    @property
    def tensors(self) -> int:
        """The number of its tensors."""
        items = module_entries(self.value) if is_module(self.value) else mapping_of(self.value) or {}
        return sum(type(part) is Tensor for part in items.values())


def choose(root: Any, key: str | None) -> Found:
    """Returns the state_dict at ``key``, or the best one. Refuses if there is none, or no single best."""
    start = Found((), root) if not key else _resolve(root, key)
    if key is not None and (_is_state(start.value) or may_be_empty(start.value)):
        return start
    found = _without_nested(_search(start))
    if key is not None:
        raise _no_such_key(key, _best(found))
    if not found and may_be_empty(start.value):
        return start
    found = found or _without_nested(_search(start, _is_named_empty))
    found = found or _without_nested(_search(start, numbers=True))
    best = _best(found)
    if not best:
        raise no_tensors(start.value)
    if len(best) > 1:
        listed = ", ".join(f"{each.key!r} ({count(each.tensors, 'tensor')})" for each in best[:_SHOWN])
        problem = f"it holds {len(best)} state_dicts of equal rank: {listed}"
        equal, others = tuple(each.key for each in best), tuple(each.key for each in found)
        raise ChoiceRefusalError(problem, _advice(best), equal, others)
    return replace(best[0], others=tuple(each for each in found if each is not best[0]))


def mapping_of(value: Any) -> dict[Any, Any] | None:
    """Returns the items of a dictionary, or of an object that acts as one (``defaultdict``, ``EasyDict``)."""
    if isinstance(value, dict):
        return value
    return value.entries if type(value) is Made else None


def require_top(key: str | None) -> None:
    """Refuses a ``key`` for a format whose tensors are all at the top level."""
    if key:
        raise RefusalError(f"its format has no containers, so key={key!r} names nothing", "leave key out")


def may_be_empty(value: Any) -> bool:
    """Whether a value is a state_dict without tensors: empty, the extra states of modules, or a module."""
    if is_module(value):
        return True
    items = mapping_of(value)
    return items is not None and all(type(name) is str and name.endswith(EXTRA_STATE) for name in items)


def _is_state(value: Any) -> bool:
    return has_tensors(value) if is_module(value) else _is_state_dict(value)


def _is_state_dict(value: Any) -> bool:
    items = mapping_of(value)
    if not items or any(type(name) is not str for name in items) or is_random_state(items):
        return False
    return any(type(part) is Tensor or is_packed(part) for part in items.values())


def _parts(value: Any, numbers: bool = True) -> Iterator[tuple[str, Any]]:
    """Yields the parts of a value by name: items, attributes, or elements by index.

    Args:
        value: the value.
        numbers: whether items of a dictionary count whose keys are whole numbers.
    """
    items = mapping_of(value)
    if items is None and type(value) is Made:
        state = value.state
        items = state if isinstance(state, dict) else None
    if items is not None:
        for name, part in items.items():
            if type(name) is str:
                yield name, part
            elif numbers and type(name) is int and str(name) not in items:
                yield str(name), part
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(islice(value, limits.SEARCH_LENGTH)):
            yield str(number), part


def _is_named_empty(each: Found) -> bool:
    """Whether a value may be a state_dict without tensors, and has a usual name of one, or is a module."""
    named = bool(each.path) and each.path[-1].lower() in _MODEL_NAMES
    return may_be_empty(each.value) and (named or is_module(each.value))


def _search(
    start: Found, wanted: Callable[[Found], bool] = lambda each: _is_state(each.value), numbers: bool = False
) -> list[Found]:
    """Finds every state_dict in ``start``, the least nested first, each once.

    Args:
        start: where to begin.
        wanted: whether a value is one.
        numbers: whether to look under whole numbers, which are names of an optimizer's parameters, too.
    """
    found = []
    seen = {id(start.value)}
    pending = deque([start])
    while pending:
        current = pending.popleft()
        if wanted(current):
            found.append(current)
        if is_module(current.value) or len(current.path) >= len(start.path) + limits.SEARCH_DEPTH:
            continue
        parts = dict(_parts(current.value, numbers))
        if "param_groups" in parts and "state" in parts:  # an optimizer
            continue
        for name, part in parts.items():
            if isinstance(part, (dict, list, tuple, Made)) and id(part) not in seen and _searched(name):
                seen.add(id(part))
                pending.append(Found((*current.path, name), part))
    return found


def _searched(name: str) -> bool:
    return name.lower() not in _OTHER_NAMES and not name.endswith(EXTRA_STATE)


def _best(found: list[Found]) -> list[Found]:
    """Selects those of the best rank: by name, then by depth."""
    ranked = [(_rank(each), each) for each in found]
    top = min((rank for rank, _ in ranked), default=None)
    return [each for rank, each in ranked if rank == top]


def _rank(each: Found) -> tuple[bool, int]:
    named = not each.path or each.path[-1].lower() in _MODEL_NAMES
    return not named, len(each.path)


def _without_nested(found: list[Found]) -> list[Found]:
    """Decides between a mapping that has tensors of its own and the state_dicts inside it.

    Keeps the outer one if it looks like a state_dict (dotted names, mostly tensors). Otherwise its
    tensors are additions such as ``best_loss``, and the inner ones are kept.
    """
    holders = {each.path[:depth] for each in found for depth in range(len(each.path))}
    kept: list[Found] = []
    whole: set[tuple[str, ...]] = set()
    for each in found:
        if any(each.path[:depth] in whole for depth in range(len(each.path))):
            continue
        if each.path in holders:
            if not _looks_like_state_dict(each.value):
                continue
            whole.add(each.path)
        kept.append(each)
    return kept


def _looks_like_state_dict(value: Any) -> bool:
    items = mapping_of(value) or {}
    names = [name for name, part in items.items() if type(part) is Tensor]
    return 2 * len(names) >= len(items) and any("." in name for name in names)


def _resolve(root: Any, key: str) -> Found:
    """Returns the value at a dotted path, whose names may contain dots themselves."""
    pending: list[tuple[Found, str]] = [(Found((), root), key)]
    while pending:
        current, rest = pending.pop()
        parts = dict(_parts(current.value))
        if rest in parts:
            return Found((*current.path, rest), parts[rest])
        pieces = rest.split(".")
        for split in range(1, min(len(pieces), limits.SEARCH_LENGTH)):
            name = ".".join(pieces[:split])
            if name in parts:
                pending.append((Found((*current.path, name), parts[name]), ".".join(pieces[split:])))
    raise _no_such_key(key, _best(_without_nested(_search(Found((), root)))))


def _no_such_key(key: str, others: list[Found]) -> RefusalError:
    if not others:
        return RefusalError(f"it holds no state_dict, neither at key={key!r} nor elsewhere", SAVE)
    return RefusalError(f"it holds no state_dict at key={key!r}", _advice(others))


def _advice(found: list[Found]) -> str:
    return "choose one with " + " or ".join(f'key="{each.key}"' for each in found[:_SHOWN])
