"""What a module has under a name that its ``state_dict()`` lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn


How = Literal["buffer", "none", "extra", "attribute", "number", "elsewhere"]


@dataclass(frozen=True)
class Beside:
    """What a module has under the key of a tensor that it does not load.

    Attributes:
        how: ``buffer``, one with ``persistent=False``; ``none``, a parameter or buffer that is None;
            ``extra``, a tensor that ``set_extra_state`` assigns; ``attribute``, any other tensor;
            ``number``, a plain number of Python; ``elsewhere``, a buffer with ``persistent=False`` of
            this name in another module, where all of this name have one shape.
        equal: whether it holds the checkpoint's numbers; None if that is not known.
        shape: of a tensor; None of anything else.
        value: of a number, in words, as in ``float 2.65``; of what is elsewhere, its path.
    """

    how: How
    equal: bool | None = None
    shape: tuple[int, ...] | None = None
    value: str = ""


def beside(module: nn.Module, keys: Iterable[str]) -> dict[str, Beside]:
    """Looks up keys that a load had no use for: key -> what the module has there, if it has anything."""
    keys = tuple(keys)
    parts = dict(module.named_modules(remove_duplicate=False)) if keys else {}
    found, unsaved = {}, _Unsaved(parts)
    for key in keys:
        owner, _, name = key.rpartition(".")
        how = _how(parts[owner], name) if owner in parts else None
        if how is None and (elsewhere := unsaved.of(name)):
            found[key] = elsewhere
        elif how is not None:
            there = getattr(parts[owner], name, None)
            shape = None if how in ("none", "number") else getattr(there, "shape", None)
            value = f"{type(there).__name__} {there!r}" if how == "number" else ""
            found[key] = Beside(how, shape=None if shape is None else tuple(shape), value=value)
    return found


class _Unsaved:
    """The buffers with ``persistent=False`` of all modules, by name; looked up once, and only if asked."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._parts = parts
        self._found: dict[str, dict[str, tuple[int, ...]]] | None = None

    def of(self, name: str) -> Beside | None:
        """The first buffer of a name, if all of this name have one shape."""
        if self._found is None:
            self._found = {}
            for path, part in self._parts.items():
                for each in part._non_persistent_buffers_set:
                    if (buffer := part._buffers.get(each)) is not None:
                        key = f"{path}.{each}" if path else each
                        self._found.setdefault(each, {})[key] = tuple(buffer.shape)
        places = self._found.get(name, {})
        if len(set(places.values())) != 1:
            return None
        key, shape = next(iter(places.items()))
        return Beside("elsewhere", shape=shape, value=key)


def _how(part: nn.Module, name: str) -> How | None:
    import torch

    registered = {**part._parameters, **part._buffers}
    if name in registered:
        if registered[name] is None:
            return "none"
        return "buffer" if name in part._non_persistent_buffers_set else None
    # A hook of weight_norm computes the weight from weight_g and weight_v: it is no attribute of its own.
    derived = any(each.startswith(f"{name}_") for each in registered)
    if not derived and isinstance(vars(part).get(name), (int, float)):
        return "number"
    if derived or not isinstance(vars(part).get(name), torch.Tensor):
        return None
    code = getattr(type(part).set_extra_state, "__code__", None)
    return "extra" if code is not None and name in code.co_names else "attribute"


def compared(
    found: Mapping[str, Beside], module: nn.Module, state: Mapping[str, Any]
) -> Mapping[str, Beside]:
    """The same, with whether the numbers are those of the checkpoint.

    Args:
        found: what ``beside`` found.
        module: the module with its real numbers.
        state: the checkpoint with its own.
    """
    import torch

    parts = dict(module.named_modules(remove_duplicate=False))
    result = {}
    for key, each in found.items():
        owner, _, name = (each.value if each.how == "elsewhere" else key).rpartition(".")
        mine, theirs = getattr(parts.get(owner), name, None), state.get(key)
        if isinstance(mine, torch.Tensor) and isinstance(theirs, torch.Tensor) and not mine.is_meta:
            each = replace(each, equal=mine.shape == theirs.shape and bool((mine == theirs).all()))
        result[key] = each
    return result
