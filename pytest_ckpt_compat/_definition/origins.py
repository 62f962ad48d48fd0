"""Tells where the numbers of a tensor come from, without having any: views, joints, computations.

Each tensor of the checkpoint is one of a storage of its own on the meta device. A view keeps the storage, its
offset and its strides; of an operator that makes a new tensor, the name and the arguments are kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._definition.entries import storage_identity
from pytest_ckpt_compat._definition.intercept import intercept

if TYPE_CHECKING:
    from torch import nn

#: Operators that only copy numbers, perhaps as another dtype: what they make is what they were given.
_COPIES = (
    "aten::clone",
    "aten::contiguous",
    "aten::_to_copy",
    "aten::detach",
    "aten::alias",
    "aten::lift_fresh",
)
#: Elements of a constant that is known by its numbers, at most.
_CONSTANT = 64


class Origins:
    """The origins of the tensors that are made inside ``watched``.

    Args:
        state: key -> tensor of a checkpoint, each with a storage of its own unless the checkpoint shares it.
        builds: of one definition, to be compared: what a load takes of such a module itself is known by its
            key, and a constant that it makes, as a BatchNorm does for an old file's counter, by its numbers.
    """

    def __init__(self, state: Mapping[str, Any], builds: Iterable[nn.Module] = ()) -> None:
        #: Whatever has an entry below is kept, so that no identity is given to another.
        self._kept: list[Any] = list(state.values())
        self._roots: dict[int, Hashable] = {}
        self._made: dict[int, tuple[Hashable, Any]] = {}
        self._objects: dict[int, str] = {}
        for key, value in state.items():
            storage = _storage(value)
            if storage is None:
                self._objects.setdefault(id(value), key)
            else:
                self._roots.setdefault(storage, key)
        self._compares = False
        for module in builds:
            self._compares = True
            for key, value in (*module.named_parameters(), *module.named_buffers()):
                self._kept.append(value)
                storage = _storage(value)
                if storage is not None:
                    self._roots.setdefault(storage, ("own", key))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Notes what operators make inside the context."""
        with intercept(self._note):
            yield

    def _note(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        import torch

        found = operator(*args, **kwargs)
        name = operator._schema.name
        if any(
            each.alias_info is not None and each.alias_info.is_write for each in operator._schema.arguments
        ):
            for value in args[:1]:  # what was written to holds the numbers of all that was given
                if isinstance(value, torch.Tensor):
                    self._keep(value, (name, self._arguments(args, kwargs)))
            return found
        for index, value in enumerate(found if isinstance(found, (list, tuple)) else [found]):
            if not isinstance(value, torch.Tensor) or _known(value, self._roots, self._made):
                continue
            if name in _COPIES and args and isinstance(args[0], torch.Tensor):
                constant = self._compares and name == "aten::lift_fresh" and _is_small(args[0])
                self._keep(value, _numbers(args[0]) if constant else self.of(args[0]))
            elif name in ("aten::cat", "aten::stack"):
                self._keep(value, self._joined(name == "aten::stack", args, kwargs))
            else:
                self._keep(value, (name, index, self._arguments(args, kwargs)))
        return found

    def _joined(self, stacks: bool, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        """What is joined as blocks, each with where it begins, whichever dimension was joined first."""
        # Torch passes over an empty tensor of one dimension.
        whole = [each for each in args[0] if each.dim() != 1 or each.numel()]
        tensors = whole if whole and not stacks else list(args[0])
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        if dim < 0:
            dim += tensors[0].dim() + stacks
        found: list[tuple[tuple[int, ...], Hashable]] = []
        position = 0
        for tensor in tensors:
            inner = self._blocks(tensor)
            inner = _unsqueezed(inner, dim) if stacks else inner
            found += [(_shifted(start, dim, position), origin) for start, origin in inner]
            position += 1 if stacks else tensor.shape[dim]
        return "blocks", tuple(sorted(found, key=lambda each: each[0]))

    def _blocks(self, tensor: Any) -> list[tuple[tuple[int, ...], Hashable]]:
        """The blocks of a tensor, each with where it begins; a tensor that was not joined is one."""
        origin = self.of(tensor)
        if isinstance(origin, tuple) and origin[0] == "blocks":
            return list(origin[1])
        return [((0,) * tensor.dim(), origin)]

    def _keep(self, value: Any, origin: Hashable) -> None:
        storage = _storage(value)
        if storage is not None:
            self._kept.append(value)
            self._made[storage] = origin, _layout(value)

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        return tuple(map(self._argument, args)), tuple(
            (k, self._argument(v)) for k, v in sorted(kwargs.items())
        )

    def _argument(self, value: Any) -> Hashable:
        import torch

        if isinstance(value, torch.Tensor):
            return self.of(value)
        if isinstance(value, (list, tuple)):
            return tuple(map(self._argument, value))
        return "a device" if isinstance(value, torch.device) else str(value)

    def of(self, value: Any) -> Hashable:
        """The origin of a value; equal origins mean equal numbers in the same order."""
        storage = _storage(value)
        if storage is None:
            return "object", self._objects.get(id(value), f"unknown {type(value).__name__}")
        layout = _layout(value)
        if storage in self._made:
            origin, whole = self._made[storage]
            return origin if layout == whole else ("view", origin, layout)
        if storage in self._roots:
            return "view", self._roots[storage], layout
        return "unknown", storage, layout


def _is_small(value: Any) -> bool:
    return not value.is_meta and value.numel() <= _CONSTANT


def _numbers(value: Any) -> Hashable:
    return "constant", str(value.dtype), tuple(value.shape), repr(value.tolist())


def _shifted(start: tuple[int, ...], dim: int, by: int) -> tuple[int, ...]:
    return (*start[:dim], start[dim] + by, *start[dim + 1 :])


def _unsqueezed(
    blocks: list[tuple[tuple[int, ...], Hashable]], dim: int
) -> list[tuple[tuple[int, ...], Hashable]]:
    """Blocks with one more dimension, of size 1."""
    return [((*start[:dim], 0, *start[dim:]), _with_dimension(origin, dim)) for start, origin in blocks]


def _with_dimension(origin: Any, dim: int) -> Hashable:
    if isinstance(origin, tuple) and origin[0] == "view" and len(origin) == 3:
        offset, shape, strides = origin[2]
        layout = offset, (*shape[:dim], 1, *shape[dim:]), (*strides[:dim], 0, *strides[dim:])
        return "view", origin[1], layout
    return "unsqueezed", dim, origin


def _known(value: Any, *tables: Mapping[int, Any]) -> bool:
    """Whether a tensor is a view of what is known."""
    storage = _storage(value)
    return any(storage in table for table in tables)


def _layout(value: Any) -> Hashable:
    """Where a tensor's numbers lie in its storage; a stride of a dimension of size 1 means nothing."""
    shape = tuple(value.shape)
    strides = tuple(0 if size == 1 else step for size, step in zip(shape, value.stride(), strict=True))
    return int(value.storage_offset()), shape, strides


def _storage(value: Any) -> int | None:
    import torch

    if not isinstance(value, torch.Tensor):
        return None
    try:
        return storage_identity(value)
    except (NotImplementedError, RuntimeError):
        return None
