"""What a file holds in place of a state_dict, for the refusal of it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, Tensor

SAVE = "save torch.save(model.state_dict(), path) and give that file"
_AS_TENSORS = (
    "save them as tensors: torch.save({name: torch.from_numpy(x) for name, x in arrays.items()}, path)"
)
_NUMPY = frozenset({"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"})
SKORCH = "load it with skorch and save its weights with net.save_params(f_params=path)"
_SKORCH_STATE = "__cuda_dependent_attributes__"
_OPTIMIZER = frozenset({"state", "param_groups"})
#: The mapping in which accelerate keeps the states of random number generators.
_RANDOM = frozenset({"random_state", "torch_manual_seed"})
#: What the state of every scheduler of torch has.
_SCHEDULER = frozenset({"last_epoch", "_step_count"})
_WHOLE = "give the file with the model's weights"
#: Values that are looked at.
_MOST = 1_000


def no_tensors(value: Any = None) -> RefusalError:
    """Makes the refusal of a checkpoint without tensors to compare, by what its value is."""
    if type(value) is Tensor:
        return RefusalError("it holds one tensor, not a mapping of names to tensors", SAVE)
    if _is_optimizer(value):
        return RefusalError("it holds the state of an optimizer alone", _WHOLE)
    if isinstance(value, dict) and any(map(_is_optimizer, islice(value.values(), _MOST))):
        return RefusalError("it holds the state of an optimizer and other values, but no weights", _WHOLE)
    if is_random_state(value):
        return RefusalError("it holds the states of random number generators alone", _WHOLE)
    if isinstance(value, dict) and value.keys() >= _SCHEDULER:
        return RefusalError("it holds the state of a learning rate scheduler alone", _WHOLE)
    if _is_skorch(value):
        return RefusalError("it holds a pickled net of skorch", SKORCH)
    arrays = _arrays(value)
    if arrays:
        return RefusalError(f"it holds {count(arrays, 'NumPy array')}, not tensors", _AS_TENSORS)
    if isinstance(value, (list, tuple)) and any(type(item) is Tensor for item in value[:_MOST]):
        return RefusalError(f"it holds a list of {len(value):,} values without names", SAVE)
    return RefusalError("it holds no state_dict: no mapping of names to tensors", SAVE)


def is_random_state(value: Any) -> bool:
    """Whether a value is what accelerate saves beside a model: the states of random number generators."""
    return isinstance(value, dict) and value.keys() >= _RANDOM


def _is_skorch(value: Any) -> bool:
    """Whether a value is a pickled NeuralNet, which keeps its weights as bytes of another pickle."""
    return type(value) is Made and isinstance(value.state, dict) and _SKORCH_STATE in value.state


def _is_optimizer(value: Any) -> bool:
    items = value.state if type(value) is Made else value
    return isinstance(items, dict) and items.keys() >= _OPTIMIZER


def _arrays(value: Any) -> int:
    """How many NumPy arrays lie in a value, at any depth, of the first values."""
    pending, seen, found, looked = [value], {id(value)}, 0, 0
    while pending and looked < _MOST:
        looked += 1
        current = pending.pop()
        if type(current) is Made and type(current.maker) is Global and str(current.maker) in _NUMPY:
            found += 1
        items = current.entries if type(current) is Made else current
        parts = (
            items.values() if isinstance(items, dict) else items if isinstance(items, (list, tuple)) else ()
        )
        for part in parts:
            if isinstance(part, (dict, list, tuple, Made)) and id(part) not in seen:
                seen.add(id(part))
                pending.append(part)
    return found
