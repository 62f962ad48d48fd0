"""Loads the optimizer states of a checkpoint into optimizers over today's parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.changes import MEMORY_BUDGET, Change
from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError, UsageError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import OptimizerState, Structure, TensorSpec
from pytest_ckpt_compat._definition.empty import empty, zero
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.lightning_resume import Configured, kept, paired, restores
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.optimizer_makes import of_another
from pytest_ckpt_compat._definition.optimizer_pairing import (
    CurrentOptimizer,
    SavedOptimizer,
    by_name,
    current_optimizer,
    mismatch,
    numbers_of,
    on_one_side,
    pairs_itself,
    regrouped,
    saved_optimizer,
    swapped,
)
from pytest_ckpt_compat._definition.optimizers import (
    State,
    after_a_step,
    make,
    name_of,
    set_state,
    state_of,
    try_step,
)
from pytest_ckpt_compat._definition.resume_companions import companions
from pytest_ckpt_compat._definition.surroundings import untouched_globals

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Resumption:
    """The result of loading the states of optimizers.

    Attributes:
        changes: the differences that prevent a resume, by parameter key.
        notes: what could not be checked, and why.
    """

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


def resume(
    structure: Structure,
    definition: Definition,
    factory: Any,
    renames: Mapping[str, str],
    budget: int = MEMORY_BUDGET,
) -> Resumption:
    """Loads the states of a checkpoint's optimizers on meta, with their own ``load_state_dict``.

    Torch does not check shapes before the next step, so they are compared with those that a step
    makes. No weights are read.

    Args:
        structure: the checkpoint.
        definition: the model.
        factory: an optimizer class, called with the parameters; a factory, called with the model,
            that returns one optimizer, or several in the checkpoint's order; or
            ``"package.module:attr"``; None for those that a LightningModule configures.
        renames: key in the checkpoint -> present key.
        budget: bytes that the model's tensors may take where meta tensors are in doubt.

    Raises:
        NoBaselineError: the checkpoint holds no optimizer state.
        BuildError: the optimizer cannot be found or built, or their number differs from the file's.
        UsageError: no optimizer is given, and the module configures none.
    """
    configured = None
    if factory is None:
        if not restores(definition, structure):
            problem = "has level resume and no optimizer"
            raise UsageError(structure.source.path, problem, 'give optimizer, "package.module:factory"')
        if not kept(structure):
            raise _no_state(structure)
        factory = configured = Configured(definition.target)
    elif not structure.optimizers:
        raise _no_state(structure)
    changes: list[Change] = []
    notes: list[str] = []
    with untouched_globals():
        module, optimizers = make(factory, definition, structure.values, budget)
        if configured is not None:
            states, changes, notes = paired(structure, module, optimizers, configured)
        else:
            states, left = _chosen(structure, len(optimizers), factory)
            notes += [f"{path}: this optimizer state was not checked" for path in left]
        for state, optimizer in zip(states, optimizers, strict=False):
            today = current_optimizer(optimizer, module)
            found, note = _load(saved_optimizer(state, structure, renames, today), today)
            changes += (of_another(state, optimizer) or found) if found else []
            notes += [note] if note else []
        if configured is None:
            beside, unchecked = companions(structure, optimizers)
            changes, notes = [*changes, *beside], [*notes, *unchecked]
    return Resumption(tuple(changes), tuple(dict.fromkeys(notes)))


def _chosen(structure: Structure, number: int, factory: Any) -> tuple[list[OptimizerState], list[str]]:
    """Returns the states for ``number`` optimizers, and the paths of the rest, nested deeper in the file."""
    paths = list(structure.optimizers)
    depths = [path.count(".") for path in paths]
    if len(paths) > number and depths[number - 1] < depths[number]:
        paths, left = paths[:number], paths[number:]
    elif len(paths) == number:
        left = []
    else:
        named = f" ({', '.join(paths)})" if all(paths) else ""
        problem = f"gives {number} where {len(paths)} {'was' if len(paths) == 1 else 'were'} saved{named}"
        raise BuildError(name_of(factory), problem, "return a list of the optimizers, in the order saved")
    return [structure.optimizers[path] for path in paths], left


def _no_state(structure: Structure) -> NoBaselineError:
    snapshot = structure.source.format == "fingerprint"
    problem = "holds no optimizer state" if not snapshot else "its snapshot holds no optimizer state"
    advice = "save optimizer.state_dict() with it, name its file with optimizer_path, or lower its level"
    return NoBaselineError(
        structure.source.path,
        problem,
        "fetch the file, and record it again by its id" if snapshot else advice,
    )


def _load(saved: SavedOptimizer, today: CurrentOptimizer) -> tuple[list[Change], str]:
    """Loads one state and makes the next step. Returns the changes, and a note of what was not checked."""
    state, optimizer = saved.state, today.optimizer
    if by_name(state) and (found := regrouped(saved, today) + on_one_side(saved, today)):
        return found, ""
    before = [{name: value for name, value in g.items() if name != "params"} for g in optimizer.param_groups]
    initial = state_of(optimizer)
    try:
        optimizer.load_state_dict(_state_dict(state, today))
    except Exception as error:
        if "meta tensor" in words(error):
            return (
                [],
                f"load_state_dict reads numbers ({brief(error)}): the optimizer's state was not checked",
            )
        return regrouped(saved, today) or [mismatch(f"load_state_dict raised {brief(error)}")], ""
    found = [] if by_name(state) or pairs_itself(optimizer) else swapped(saved, today)
    kept = state_of(optimizer)
    loaded = [kept.get(parameter, {}) for parameter in today.parameters]
    try:
        expected = _expected(optimizer, before, initial)
    except _SettingsError as error:
        return [*found, mismatch(f"step() with the settings of the checkpoint raises {error}")], ""
    except Exception as error:  # an optimizer of any make
        reason = f"the optimizer cannot make a step here ({brief(error)})"
        return found, f"{reason}: the shapes in its state were not checked"
    found += _shapes(saved, today.keys, loaded, expected)
    if not found and state.opaque:
        names = ", ".join(state.opaque)
        return [], f"parts of the optimizer's state cannot be read ({names}): the next step was not checked"
    if not found:
        raised, lacking = _next_step(optimizer, initial, kept), _lacking(saved, today.keys, loaded, expected)
        # A step may create what is lacking. If no step can be made here, all of it is reported.
        found += lacking if raised is None else (raised and (lacking or raised))
    return found, _order_note(saved, today)


class _SettingsError(Exception):
    """A step works with today's settings and fails with those of the checkpoint."""


def _expected(
    optimizer: torch.optim.Optimizer, before: list[dict[str, Any]], initial: State
) -> list[Mapping[str, Any]]:
    """Returns the states that a step makes with the settings of the checkpoint.

    Settings that switch something on or off (``fused``) may need a device that is missing here. If
    the step fails, today's values replace them.

    Raises:
        _SettingsError: the step fails because of the checkpoint's other settings.
        Exception: the step fails with today's settings too.
    """
    with contextlib.suppress(Exception):
        return after_a_step(optimizer, initial)
    for group, settings in zip(optimizer.param_groups, before, strict=True):
        switches = {n: v for n, v in settings.items() if v is None or isinstance(v, bool)}
        group.update({n: v for n, v in switches.items() if n in group})
    try:
        return after_a_step(optimizer, initial)
    except Exception as error:
        reason = brief(error)
    for group, settings in zip(optimizer.param_groups, before, strict=True):
        group.update(settings)
    after_a_step(optimizer, initial)
    raise _SettingsError(reason)


def _next_step(optimizer: torch.optim.Optimizer, initial: State, loaded: State) -> list[Change] | None:
    """Makes the step after the load. Returns its error as a change; None if no step works on meta."""
    set_state(optimizer, initial)
    try:
        try_step(optimizer)
    except Exception:
        return None
    set_state(optimizer, loaded)
    try:
        try_step(optimizer)
    except Exception as error:
        reads_a_number = "meta tensor" in words(error)
        return None if reads_a_number else [mismatch(f"the step after the load raises {brief(error)}")]
    return []


def _order_note(saved: SavedOptimizer, today: CurrentOptimizer) -> str:
    """Returns a note if neither the file nor the order shows which parameter each state belongs to."""
    many = sum(bool(fields) for fields in saved.state.states.values()) > 1
    if saved.keys or not many or pairs_itself(today.optimizer):
        return ""
    return "the file does not name the optimizer's parameters: a change of their order cannot be detected"


def _state_dict(state: OptimizerState, today: CurrentOptimizer) -> dict[str, Any]:
    """Makes the state_dict that ``torch.load`` returns, on meta, with today's values of unread settings."""
    numbered, groups = numbers_of(state, today), []
    for number, numbers in enumerate(numbered):
        mine = today.optimizer.param_groups[number] if number < len(today.groups) else {}
        options = state.options[number] if number < len(state.options) else dict(mine)
        unread = {name: mine[name] for name in state.unread if name in mine}
        groups.append({**unread, **options, "params": list(numbers)})
    devices = dict(
        zip(chain.from_iterable(numbered), (str(p.device) for p in today.parameters), strict=False)
    )
    states = {
        number: {
            **state.values.get(number, {}),
            # A step reads scalars, such as the number of steps: these are real tensors.
            **{
                n: empty(spec, devices.get(number, "cpu")) if spec.shape else zero(spec)
                for n, spec in fields.items()
            },
        }
        for number, fields in state.states.items()
    }
    return {"state": states, "param_groups": groups}


def _shapes(
    saved: SavedOptimizer,
    keys: Sequence[str],
    loaded: Sequence[Mapping[str, Any]],
    expected: Sequence[Mapping[str, Any]],
) -> Iterator[Change]:
    """Yields states whose shapes differ from a step's: torch loads them, and the next step fails."""
    for key, fields, wanted in zip(keys, loaded, expected, strict=True):
        for name, value in fields.items():
            shape, fits = getattr(value, "shape", None), getattr(wanted.get(name), "shape", None)
            if shape is not None and fits is not None and tuple(shape) != tuple(fits):
                dtype = str(value.dtype).removeprefix("torch.")
                specs = TensorSpec(dtype, tuple(shape)), TensorSpec(dtype, tuple(fits))
                found = mismatch(f"{name} of the optimizer", saved.before.get(key), key)
                yield replace(found, old_specs=specs[:1], new_specs=specs[1:])


def _lacking(
    saved: SavedOptimizer,
    keys: Sequence[str],
    loaded: Sequence[Mapping[str, Any]],
    expected: Sequence[Mapping[str, Any]],
) -> list[Change]:
    """Finds values that a step makes for a parameter and that the checkpoint lacks."""
    found = []
    for key, fields, wanted in zip(keys, loaded, expected, strict=True):
        names = [n for n, value in wanted.items() if value is not None and n not in fields]
        if fields and names:
            found.append(
                mismatch(f"the optimizer's state lacks {', '.join(names)}", saved.before.get(key), key)
            )
    return found
