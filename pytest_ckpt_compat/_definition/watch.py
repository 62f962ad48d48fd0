"""Observes which tensors a load writes to."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._definition.counterparts import is_lazy
from pytest_ckpt_compat._definition.doubts import Doubts, reads_numbers, tensors_in
from pytest_ckpt_compat._definition.entries import storage_identity
from pytest_ckpt_compat._definition.intercept import intercept

if TYPE_CHECKING:
    import torch

#: Operators that fill a tensor with other values, in place: those of torch.nn.init begin with one of them.
_FILLING = frozenset(
    f"aten::{name}_"
    for name in (
        *("copy", "zero", "fill", "normal", "uniform", "random", "bernoulli", "exponential"),
        *("geometric", "cauchy", "log_normal"),
    )
)


@dataclass
class Watched:
    """The observed calls of operators.

    Attributes:
        written: storages that operators wrote to, through any view or ``.data``.
        refused: whether an operator raised, as operators that need numbers do on a meta tensor.
        derived: storages of the checkpoint's tensors, and of those that were computed from them -> the
            checkpoint's storages that are in them.
        used: whether an operator got such a tensor.
        numbers: whether numbers of such tensors decided what an operator returned.
        copied: storage -> the dtype of what was last copied into it.
        reached: storages that operators wrote to with such a tensor among their arguments.
        overwritten: storages that got something of the checkpoint, and were then filled as a whole with
            something else.
        doubts: what loading code asked tensors.
        users: whether there is any code outside of torch that may ask, or write.
    """

    written: set[int] = field(default_factory=set)
    refused: bool = False
    derived: dict[int, frozenset[int]] = field(default_factory=dict)
    used: bool = False
    numbers: bool = False
    copied: dict[int, str] = field(default_factory=dict)
    reached: set[int] = field(default_factory=set)
    overwritten: set[int] = field(default_factory=set)
    doubts: Doubts = field(default_factory=Doubts)
    users: bool = True

    def forget(self, created: set[int]) -> None:
        """Forgets storages that have just been created: their identities may have been others' before."""
        self.written -= created
        self.reached -= created
        self.overwritten -= created
        for storage in created:
            self.derived.pop(storage, None)

    def fill(self, filled: set[int], own: set[int]) -> None:
        """Notes that nothing is left of what was in these storages; ``own`` are the checkpoint's."""
        for storage in filled - own:
            if self.derived.pop(storage, None) and storage in self.reached:
                self.overwritten.add(storage)

    def origins(self, value: object) -> frozenset[int]:
        """The checkpoint's storages of which something is in a tensor."""
        storage = storage_of(value)
        return frozenset() if storage is None else self.derived.get(storage, frozenset())


@contextlib.contextmanager
def watch_operators(state: Mapping[str, Any], users: bool) -> Iterator[Watched]:
    """Observes every call of a torch operator inside the context, and what code asks tensors.

    Args:
        state: the checkpoint.
        users: whether there is any code outside of torch that may ask.
    """
    own = _storages(state.values())
    watched = Watched(derived={storage: frozenset((storage,)) for storage in own}, users=users)

    def watch(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        written = _written(operator, args, kwargs)
        watched.written |= written
        try:
            found = operator(*args, **kwargs)
        except Exception:
            watched.refused = True
            raise
        if operator._schema.name == "aten::copy_":
            watched.copied |= dict.fromkeys(written, str(args[1].dtype).removeprefix("torch."))
        given = _storages(tensors_in((*args, *kwargs.values())))
        made = _storages(tensors_in((found,)))
        new = made - given - own  # new memory, perhaps that of a tensor which is gone
        if new:
            watched.forget(new)
        values = _values(operator, args, kwargs)
        if values is not None and _storages(values).isdisjoint(watched.derived):
            whole = _storages(each for each in _results(operator, args, kwargs) if _is_whole(each))
            watched.fill(written & whole, own)
        elif values is not None:
            watched.overwritten -= written
        sources = given & watched.derived.keys()
        if sources:
            watched.used = True
            if deciding := _storages(tensors_in(reads_numbers(operator, args))):
                watched.numbers |= not watched.derived.keys().isdisjoint(deciding)
            watched.reached |= written
            roots = frozenset().union(*(watched.derived[storage] for storage in sources))
            for storage in written | made:
                watched.derived[storage] = watched.derived.get(storage, frozenset()) | roots
        return found

    with intercept(watch), watched.doubts.questions() if users else contextlib.nullcontext():
        yield watched


def storage_of(value: Any) -> int | None:
    """Returns the identity of a tensor's storage; None if it is empty, or there is none."""
    tensor, ordinary = _tensor_types()
    # Nearly all are of an ordinary type; to ask torch's metaclass costs as much as the rest.
    if type(value) not in ordinary and (not isinstance(value, tensor) or is_lazy(value)):
        return None
    try:
        return storage_identity(value) if value.numel() else None
    except (NotImplementedError, RuntimeError):  # sparse tensors and other layouts
        return None


@functools.cache
def _tensor_types() -> tuple[type[torch.Tensor], frozenset[type]]:
    """The class of tensors, and the two that nearly all tensors have."""
    import torch

    return torch.Tensor, frozenset({torch.Tensor, torch.nn.Parameter})


def _storages(values: Iterable[Any]) -> set[int]:
    return {storage for value in values if (storage := storage_of(value)) is not None}


def _written(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> set[int]:
    # A lenient loader fills in the model's own tensor for a missing one: a copy onto itself.
    places, copies = _writes(operator)
    if not places:
        return set()
    source = storage_of(args[1]) if copies else None
    found = map(storage_of, _results(operator, args, kwargs))
    return {storage for storage in found if storage is not None and storage != source}


def _results(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments of an operator that it writes to."""
    places, _ = _writes(operator)
    return [args[n] if n < len(args) else kwargs.get(name) for n, name in places]


@functools.cache
def _writes(operator: Any) -> tuple[tuple[tuple[int, str], ...], bool]:
    """Position and name of each argument that an operator writes to; whether it is ``copy_``."""
    places = tuple(
        (number, argument.name)
        for number, argument in enumerate(operator._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return places, operator._schema.name == "aten::copy_"


def _values(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any] | None:
    """What an operator makes its result of, where nothing of the result before is left; else None."""
    if operator._schema.name in _FILLING:
        return [*tensors_in((*args[1:], *kwargs.values()))]
    if any(a.is_out for a in operator._schema.arguments):
        results = {id(each) for each in _results(operator, args, kwargs)}
        return [each for each in tensors_in((*args, *kwargs.values())) if id(each) not in results]
    return None


def _is_whole(value: Any) -> bool:
    """Whether a tensor is all that there is in its storage."""
    try:
        return bool(value.numel() * value.element_size() == value.untyped_storage().nbytes())
    except (NotImplementedError, RuntimeError, AttributeError):
        return False
