"""The optimizer's state of a checkpoint, loaded for real into an optimizer over today's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat.changes import Change
from pytest_ckpt_compat.definition.build import untouched_globals
from pytest_ckpt_compat.definition.find import Definition, brief
from pytest_ckpt_compat.definition.optimizers import after_a_step, make
from pytest_ckpt_compat.definition.pairing import (
    Saved,
    Today,
    by_name,
    mismatch,
    moved,
    numbers_of,
    regrouped,
    saved_of,
    swapped,
    today_of,
)
from pytest_ckpt_compat.definition.state import empty
from pytest_ckpt_compat.errors import BuildError, NoBaselineError
from pytest_ckpt_compat.structure import OptimizerState, Structure, TensorSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Resumption:
    """What came of loading the states of optimizers.

    Attributes:
        changes: what keeps them from being resumed, by parameter key.
        notes: what could not be looked at.
    """

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


def resume(
    structure: Structure, definition: Definition, factory: Any, renames: Mapping[str, str]
) -> Resumption:
    """Loads the states of a checkpoint's optimizers, on meta, through their own ``load_state_dict``.

    The shapes, which torch does not look at before the next step, are compared with those that a
    step makes. No weight is read.

    Args:
        structure: the checkpoint.
        definition: the model.
        factory: an optimizer class, which is given the parameters; a factory, which is given the
            model and returns one optimizer, or several in the order in which the checkpoint has
            them; or ``"package.module:attr"``.
        renames: key in the checkpoint -> key today.

    Raises:
        NoBaselineError: there is no optimizer state.
        BuildError: the optimizer cannot be found or built, or there are more or fewer than in the file.
    """
    if not structure.optimizers:
        raise _no_state(structure)
    changes: list[Change] = []
    notes: list[str] = []
    with untouched_globals():
        module, optimizers = make(factory, definition, structure.values)
        if len(optimizers) != len(structure.optimizers):
            held = f"{len(structure.optimizers)} ({', '.join(structure.optimizers)})"
            problem = f"gives {len(optimizers)} optimizers where {structure.source.path} holds {held}"
            raise BuildError(str(factory), problem, "return a list of the optimizers, in the file's order")
        for state, optimizer in zip(structure.optimizers.values(), optimizers, strict=True):
            today = today_of(optimizer, module)
            found, note = _load(saved_of(state, structure, renames, today), today)
            changes += found
            notes += [note] if note else []
    return Resumption(tuple(changes), tuple(notes))


def _no_state(structure: Structure) -> NoBaselineError:
    snapshot = structure.source.format == "fingerprint"
    problem = "holds no optimizer state" if not snapshot else "its snapshot holds no optimizer state"
    advice = "save optimizer.state_dict() with it, or lower its level"
    return NoBaselineError(
        structure.source.path, problem, "fetch the file, and record it anew by its id" if snapshot else advice
    )


def _load(saved: Saved, today: Today) -> tuple[list[Change], str]:
    """What the load, and the step after it, would stumble over; and what could not be looked at."""
    named = by_name(saved.state)
    if named and (found := moved(saved, today)):
        return found, ""
    optimizer = today.optimizer
    before = [{name: value for name, value in g.items() if name != "params"} for g in optimizer.param_groups]
    hooked = bool(getattr(optimizer, "_optimizer_load_state_dict_pre_hooks", None))
    try:
        state = _state_dict(saved.state, today)
        optimizer.load_state_dict(state)
    except Exception as error:
        raised = [mismatch(f"load_state_dict raised {brief(error)}")]
        if isinstance(error, KeyError):  # it was saved by an optimizer of another kind
            raised += _settings(before, state["param_groups"])
        return regrouped(saved, today) or raised, ""
    found = _settings(before, optimizer.param_groups)
    if not named and not hooked:
        found += swapped(saved, today)
    if found:
        return found, ""
    loaded = [dict(optimizer.state.get(parameter, {})) for parameter in today.parameters]
    optimizer.state.clear()
    try:
        expected = _expected(optimizer, before)
    except Exception as error:  # an optimizer of any make
        said = f"no step of the optimizer can be made here ({brief(error)})"
        return [], f"{said}: the shapes in its state were not compared"
    return list(_shapes(today.keys, loaded, expected)), ""


def _expected(optimizer: torch.optim.Optimizer, before: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """What a step keeps, by the settings that the checkpoint has brought; by today's, if need be.

    Those of the checkpoint may ask for a device that is not here.
    """
    try:
        return after_a_step(optimizer)
    except Exception:
        for group, settings in zip(optimizer.param_groups, before, strict=True):
            group.update(settings)
        return after_a_step(optimizer)


def _settings(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[Change]:
    """Settings of the groups of today's optimizer that the checkpoint, which replaces them, lacks."""
    lost = {n: None for had, group in zip(before, after, strict=False) for n in had if n not in group}
    names = ", ".join(lost)
    return [mismatch(f"the checkpoint lacks settings that the optimizer has: {names}")] if lost else []


def _state_dict(state: OptimizerState, today: Today) -> dict[str, Any]:
    """What ``torch.load`` would give, of meta tensors; settings that are not read are today's."""
    parameters, groups = today.parameters, []
    device = str(parameters[0].device) if parameters else "cpu"
    for number, numbers in enumerate(numbers_of(state, today)):
        mine = today.optimizer.param_groups[number] if number < len(today.groups) else {}
        options = state.options[number] if number < len(state.options) else dict(mine)
        unread = {name: mine[name] for name in state.unread if name in mine}
        groups.append({**unread, **options, "params": list(numbers)})
    states = {
        number: {
            **state.values.get(number, {}),
            **{name: empty(spec, device) for name, spec in fields.items()},
        }
        for number, fields in state.states.items()
    }
    return {"state": states, "param_groups": groups}


def _shapes(
    keys: Sequence[str], loaded: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]
) -> Iterator[Change]:
    """State that is not as a step makes it: torch loads it, and the next step fails."""
    for key, fields, wanted in zip(keys, loaded, expected, strict=True):
        lacking = [name for name, value in wanted.items() if value is not None and name not in fields]
        if fields and lacking:
            yield mismatch(f"the optimizer's state lacks {', '.join(lacking)}", key, key)
        for name, value in fields.items():
            shape, fits = getattr(value, "shape", None), getattr(wanted.get(name), "shape", None)
            if shape is not None and fits is not None and tuple(shape) != tuple(fits):
                dtype = str(value.dtype).removeprefix("torch.")
                specs = TensorSpec(dtype, tuple(shape)), TensorSpec(dtype, tuple(fits))
                found = mismatch(f"{name} of the optimizer", key, key)
                yield replace(found, old_specs=specs[:1], new_specs=specs[1:])
