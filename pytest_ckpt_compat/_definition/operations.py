"""Carries out the steps of a migration on tensors, real ones or ones without numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pytest_ckpt_compat._migrate.rules import Rules, applied, module_names
from pytest_ckpt_compat._migrate.steps import COPY, DROP, MOVE, Op, Step


def results(op: Op, given: Sequence[Any]) -> list[Any]:
    """What an operation makes of the tensors that it takes, in order.

    Raises:
        RuntimeError: torch's own, where the shapes do not fit.
    """
    if op == DROP:
        return []
    if op in (MOVE, COPY):
        return list(given)
    if op.name in ("cat", "stack"):
        return [_joined(op, list(given))]
    if op.name in ("permute", "squeeze", "unsqueeze"):
        return [_arranged(op, given[0])]
    return _computed(op, given)


def _joined(op: Op, given: list[Any]) -> Any:
    import torch

    if op.name == "cat":
        return torch.cat(given, dim=op.numbers[0])
    dim, each, inner = op.numbers
    if each == 1:
        return torch.stack(given, dim=dim)
    groups = [given[i : i + each] for i in range(0, len(given), each)]
    return torch.stack([torch.cat(group, dim=inner) for group in groups], dim=dim)


def _arranged(op: Op, tensor: Any) -> Any:
    if op.name == "permute":
        return tensor.t() if op.numbers == (1, 0) else tensor.permute(op.numbers)
    for dim in op.numbers:
        tensor = getattr(tensor, op.name)(dim)
    return tensor


def _computed(op: Op, given: Sequence[Any]) -> list[Any]:
    import torch

    first = given[0]
    weight_norm: Callable[..., Any] = torch._weight_norm
    norm: Callable[..., Any] = torch.norm_except_dim
    if op.name == "weight_norm":
        return [weight_norm(given[1], first, op.numbers[0])]
    if op.name == "norm_and_direction":
        return [norm(first, 2, op.numbers[0]), first]
    if op.name == "unspectral":
        matrix = (first.movedim(op.numbers[0], 0) if op.numbers else first).flatten(1)
        return [first / torch.dot(given[1], matrix @ given[2])]
    return [first * given[1]]


def parts(op: Op, whole: Any, number: int) -> list[Any]:
    """The parts into which an operation divides a tensor."""
    numbers = op.numbers
    if op.name == "chunk":
        return list(whole.chunk(number, dim=numbers[0]))
    if op.name == "split":
        return list(whole.split(list(numbers[1:]), dim=numbers[0]))
    dim, each, inner = numbers
    slices = whole.unbind(dim)
    return list(slices) if each == 1 else [part for one in slices for part in one.chunk(each, dim=inner)]


#: Operations that divide one tensor.
DIVIDING = ("chunk", "split", "unstack")


def carried_out(step: Step, read: Callable[[str], Any]) -> dict[str, Any]:
    """The new tensors of one step, by key.

    Args:
        step: the step.
        read: gives the tensor of an old key.

    Raises:
        RuntimeError: torch's own, where the shapes do not fit; or the number of results is another.
    """
    given = [read(key) for key in step.old]
    made = parts(step.op, given[0], len(step.new)) if step.op.name in DIVIDING else results(step.op, given)
    if len(made) != len(step.new):
        raise RuntimeError(f"{step.old[0]} gives {len(made)} tensors for {len(step.new)} keys")
    return dict(zip(step.new, made, strict=True))


def migrated(steps: Iterable[Step], state: Mapping[str, Any]) -> dict[str, Any]:
    """What steps make of a whole state_dict."""
    found: dict[str, Any] = {}
    for step in steps:
        found |= carried_out(step, state.__getitem__)
    return found


def by_rules(rules: Rules) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """A function that applies rules to a state_dict; it keeps the versions of the modules.

    The function raises RulesError where the rules do not fit the keys.
    """

    def migrate(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        steps = applied(rules, list(state_dict))
        found: Any = OrderedDict(migrated(steps, state_dict))
        metadata = getattr(state_dict, "_metadata", None)
        if metadata is not None:
            new_name = module_names(rules)
            found._metadata = {**metadata, **{new_name(name): each for name, each in metadata.items()}}
        return found  # type: ignore[no-any-return]

    return migrate
