"""Gives the state of optimizers the new names of the parameters, where it has names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_ckpt_compat._convert.opened import Opened, replaced
from pytest_ckpt_compat._definition.operations import carried_out
from pytest_ckpt_compat._migrate.steps import COPY, DROP, MOVE, Step

_NAMES = "param_names"


def moved_optimizers(source: Opened, steps: Sequence[Step]) -> tuple[Any, tuple[str, ...]]:
    """What surrounds a state_dict, with the optimizers' names of parameters as they are now.

    Torch numbers the parameters of an optimizer. Their order is that of the model's code, which nothing in
    the file tells: such numbers stay, and a line says so where parameters were joined, divided or dropped.

    Returns: the object with copies of the optimizers in it, and the lines.
    """
    if source.whole is None:
        return None, ()
    old = source.structure
    changed = [step for step in steps if step.op not in (MOVE, COPY)]
    names = {step.old[0]: step.new[0] for step in steps if step.op == MOVE}
    whole, notes = source.whole, []
    for path in old.optimizers:
        keys = path.split(".") if path else []
        found = _at(whole, keys)
        if found is None:
            continue
        by_name = any(isinstance(name, str) for name in found.get("state", ()))
        whole = replaced(whole, keys, _by_name(found, steps, names) if by_name else _renamed(found, names))
        if changed and not by_name:
            one = next((key for step in changed for key in step.old), "")
            notes.append(
                f"{path or 'the optimizer'} is kept as it is: its parameters are numbered as before, {one} "
                "is no longer one of them: do not resume from it"
            )
    return whole, tuple(notes)


def _at(whole: Any, keys: Sequence[str]) -> Mapping[str, Any] | None:
    for key in keys:
        if isinstance(whole, (list, tuple)) and key.isdigit() and int(key) < len(whole):
            whole = whole[int(key)]
        elif isinstance(whole, Mapping) and key in whole:
            whole = whole[key]
        else:
            return None
    return whole if isinstance(whole, Mapping) else None


def _renamed(optimizer: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """An optimizer's state with numbers, whose groups may name their parameters besides."""
    groups = [
        {**group, _NAMES: [names.get(each, each) for each in group[_NAMES]]} if _NAMES in group else group
        for group in optimizer.get("param_groups", ())
    ]
    return {**optimizer, "param_groups": groups} if "param_groups" in optimizer else dict(optimizer)


def _by_name(optimizer: Mapping[str, Any], steps: Sequence[Step], names: Mapping[str, str]) -> dict[str, Any]:
    """An optimizer's state by the names of parameters: its tensors go the way of the parameters."""
    state = optimizer["state"]
    moved: dict[str, Any] = {}
    became: dict[str, list[str]] = {}
    for step in steps:
        if step.op == DROP:
            became.update({key: [] for key in step.old})
        elif step.op == MOVE and step.old[0] in state:
            moved[step.new[0]] = state[step.old[0]]
        elif step.op not in (MOVE, COPY) and all(key in state for key in step.old):
            moved.update(_carried(step, state))
            became.update({key: list(step.new) if i == 0 else [] for i, key in enumerate(step.old)})
    known = {key for step in steps for key in step.old}
    moved.update({name: value for name, value in state.items() if name not in known})

    def named(each: str) -> Iterator[str]:
        yield from became.get(each, [names.get(each, each)])

    groups = [
        {**group, "params": [name for each in group.get("params", ()) for name in named(each)]}
        for group in optimizer.get("param_groups", ())
    ]
    return {**optimizer, "state": moved, "param_groups": groups}


def _carried(step: Step, state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What an operation makes of each value that parameters have; a number is that of the first of them."""
    found: dict[str, dict[str, Any]] = {key: {} for key in step.new}
    for name, value in state[step.old[0]].items():
        values = {key: state[key].get(name) for key in step.old}
        whole = all(getattr(each, "ndim", 0) for each in values.values())
        made = carried_out(step, values.__getitem__) if whole else dict.fromkeys(step.new, value)
        for key, each in made.items():
            found[key][name] = each.clone() if whole else each
    return found
