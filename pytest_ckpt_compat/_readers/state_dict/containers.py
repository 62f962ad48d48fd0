"""Where in a checkpoint the state_dict is.

A state_dict is known by its structure: a mapping whose keys are all text and among whose values
are tensors, or a pickled ``nn.Module``. Optimizer states are none. Where several are found, one
under a name that says "the model" goes before one under any other name, and then the less deeply
nested. Those still equal are the user's choice: ``key="model"``, ``key="ema"``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.structure import EXTRA_STATE
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.pickle.inert import Made, Tensor
from pytest_ckpt_compat._readers.state_dict.modules import has_tensors, is_module, module_entries

_MODEL_NAMES = frozenset(
    {
        *("model", "model_state", "model_state_dict", "model_weights", "module", "net", "net_state_dict"),
        *("network", "params", "state_dict", "weights"),
        *("ema", "ema_model", "ema_state_dict", "model_ema", "model_ema_state_dict", "params_ema"),
        *("state_dict_ema", "g_ema"),
    }
)

#: Never searched: what stands beside a model in training checkpoints, though it may hold tensors.
_OTHER_NAMES = frozenset(
    {
        *("opt", "optim", "optimizer", "optimizers", "optimizer_state", "optimizer_states"),
        *("optimizer_state_dict", "scheduler", "schedulers", "scheduler_state_dict", "lr_scheduler"),
        *("lr_schedulers", "scaler", "amp_scaler", "grad_scaler", "callbacks", "loops", "metrics"),
        *("args", "cfg", "config", "hparams", "hyper_parameters", "rng", "rng_state", "rng_states"),
    }
)

_SHOWN = 8
_SAVE = "save torch.save(model.state_dict(), path) and give that file"


@dataclass(frozen=True, slots=True)
class Found:
    """A state_dict, or a module to read one from, and the names that lead to it."""

    path: tuple[str, ...]
    value: Any

    @property
    def key(self) -> str:
        """The path as ``key=`` takes it."""
        return ".".join(self.path)


def choose(root: Any, key: str | None) -> Found:
    """The state_dict that ``key`` names, or the best one. Refuses where there is none, or several."""
    start = Found((), root) if not key else _resolve(root, key)
    if key is not None and _is_state(start.value):
        return start
    best = _best(_search(start))
    if key is not None:
        raise _no_such_key(key, best)
    if not best:
        raise no_tensors()
    if len(best) > 1:
        listed = ", ".join(
            f"{found.key!r} ({count(_tensors(found.value), 'tensor')})" for found in best[:_SHOWN]
        )
        raise RefusalError(f"it holds {len(best)} equally good state_dicts: {listed}", _advice(best))
    return best[0]


def mapping_of(value: Any) -> dict[Any, Any] | None:
    """The items of a dictionary, or of an object that is one (``defaultdict``, ``EasyDict``)."""
    if isinstance(value, dict):
        return value
    return value.entries if type(value) is Made else None


def no_tensors() -> RefusalError:
    """The refusal of a checkpoint in which there is nothing to compare."""
    return RefusalError("there is no state_dict in it: no mapping of names to tensors", _SAVE)


def require_top(key: str | None) -> None:
    """Refuses a ``key`` for a format whose tensors all lie at the top."""
    if key:
        raise RefusalError(f"this format has no containers, so none is called {key!r}", "leave key out")


def _is_state(value: Any) -> bool:
    return has_tensors(value) if is_module(value) else _is_state_dict(value)


def _is_state_dict(value: Any) -> bool:
    items = mapping_of(value)
    if not items or any(type(name) is not str for name in items):
        return False
    return any(type(part) is Tensor for part in items.values())


def _tensors(value: Any) -> int:
    items = module_entries(value) if is_module(value) else mapping_of(value) or {}
    return sum(type(part) is Tensor for part in items.values())


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, by name: items, attributes, or elements by number."""
    items = mapping_of(value)
    if items is None and type(value) is Made:
        state = value.state
        items = state if isinstance(state, dict) else None
    if items is not None:
        for name, part in items.items():
            if type(name) is str:
                yield name, part
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(islice(value, limits.SEARCH_LENGTH)):
            yield str(number), part


def _search(start: Found) -> list[Found]:
    """Every state_dict from ``start`` on, the less deeply nested first; each once."""
    found = []
    seen = {id(start.value)}
    pending = deque([start])
    while pending:
        place = pending.popleft()
        if _is_state(place.value):
            found.append(place)
        if is_module(place.value) or len(place.path) >= len(start.path) + limits.SEARCH_DEPTH:
            continue
        parts = dict(_parts(place.value))
        if "param_groups" in parts and "state" in parts:  # an optimizer
            continue
        for name, part in parts.items():
            if isinstance(part, (dict, list, tuple, Made)) and id(part) not in seen and _searched(name):
                seen.add(id(part))
                pending.append(Found((*place.path, name), part))
    return found


def _searched(name: str) -> bool:
    return name.lower() not in _OTHER_NAMES and not name.endswith(EXTRA_STATE)


def _best(found: list[Found]) -> list[Found]:
    """Those of the best rank: by name, then by depth."""
    found = _without_nested(found)
    ranked = [(_rank(place), place) for place in found]
    top = min((rank for rank, _ in ranked), default=None)
    return [place for rank, place in ranked if rank == top]


def _rank(place: Found) -> tuple[bool, int]:
    named = not place.path or place.path[-1].lower() in _MODEL_NAMES
    return not named, len(place.path)


def _without_nested(found: list[Found]) -> list[Found]:
    """Decides between a mapping with tensors of its own and the state_dicts inside it.

    The outer one stands if it reads like a state_dict (dotted names, mostly tensors); otherwise
    its tensors are asides (``best_loss``) and the inner ones stand.
    """
    holders = {place.path[:depth] for place in found for depth in range(len(place.path))}
    kept: list[Found] = []
    whole: set[tuple[str, ...]] = set()
    for place in found:
        if any(place.path[:depth] in whole for depth in range(len(place.path))):
            continue
        if place.path in holders:
            if not _reads_like_state_dict(place.value):
                continue
            whole.add(place.path)
        kept.append(place)
    return kept


def _reads_like_state_dict(value: Any) -> bool:
    items = mapping_of(value) or {}
    names = [name for name, part in items.items() if type(part) is Tensor]
    return 2 * len(names) >= len(items) and any("." in name for name in names)


def _resolve(root: Any, key: str) -> Found:
    """The value at a dotted path; a name may itself have dots."""
    pending: list[tuple[Found, str]] = [(Found((), root), key)]
    while pending:
        place, rest = pending.pop()
        parts = dict(_parts(place.value))
        if rest in parts:
            return Found((*place.path, rest), parts[rest])
        pieces = rest.split(".")
        for split in range(1, min(len(pieces), limits.SEARCH_LENGTH)):
            name = ".".join(pieces[:split])
            if name in parts:
                pending.append((Found((*place.path, name), parts[name]), ".".join(pieces[split:])))
    raise _no_such_key(key, _best(_search(Found((), root))))


def _no_such_key(key: str, others: list[Found]) -> RefusalError:
    if not others:
        return RefusalError(f"there is no state_dict at key={key!r}, nor anywhere else in it", _SAVE)
    return RefusalError(f"there is no state_dict at key={key!r}", _advice(others))


def _advice(found: list[Found]) -> str:
    return "choose one with " + " or ".join(f'key="{place.key}"' for place in found[:_SHOWN])
