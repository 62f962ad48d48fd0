"""What a definition computes with drawn values, beside what its snapshot says that it computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pytest_ckpt_compat._check.check import could_not_check
from pytest_ckpt_compat._check.module_pairs import pairs
from pytest_ckpt_compat._check.notes import failed
from pytest_ckpt_compat._check.proven import EVIDENCE
from pytest_ckpt_compat._check.trial import Trial
from pytest_ckpt_compat._core.changes import Change, moves
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.outputs import Drift, Outputs, drift, same_inputs
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.chain import Chain
from pytest_ckpt_compat._definition.filling import NotFilledError, NotRunError
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.forward import Setup, exercised, run
from pytest_ckpt_compat._definition.inputs import factory_of, inputs_of
from pytest_ckpt_compat._definition.project_code import RemapError
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import fingerprint

_RECORD = f"run {UPDATE}"


@dataclass(frozen=True)
class Compared:
    """What running a definition adds to a verdict.

    Attributes:
        changes: changes, not judged yet.
        notes: remarks, a line each.
        proven: old key -> new key of renames that were in doubt, under which it computes what it computed.
        outputs: what it computes, by the name of its inputs; for its snapshot.
    """

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    proven: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Outputs] = field(default_factory=dict)


def recorded(
    registration: Registration,
    definition: Definition,
    values: Mapping[str, Any],
    new: Structure,
    stored: Structure | None = None,
) -> Compared:
    """Runs a definition for its snapshot.

    Args:
        registration: says what gives the inputs.
        definition: what is run.
        values: the checkpoint's non-tensor values, for a factory that takes them.
        new: the definition's structure.
        stored: its snapshot; outputs in it that are the same stay as they are.
    """
    kept = {} if stored is None or fingerprint.digest(stored) != fingerprint.digest(new) else stored.outputs
    if registration.inputs is None:
        return Compared(outputs=kept)
    try:
        name, setup = _setup(registration, definition, values)
        found = run(setup, new)
        if drift(found, run(setup, new, seed=1)) is not None:
            return Compared(notes=(_unsteady(definition),))
    except (NotRunError, CkptCompatError) as error:
        return _not_run(definition, error)
    except Exception as error:  # the structure is recorded all the same
        return Compared(notes=failed("running the definition", error))
    before = kept.get(name)
    same = (
        before is not None and same_inputs(before, found.inputs) and list(before.calls) == list(found.calls)
    )
    if same and before is not None and drift(before, found) is None:
        found = before
    return Compared(outputs={**kept, name: found})


def compared(
    registration: Registration,
    definition: Definition,
    values: Mapping[str, Any],
    sides: tuple[Structure, Structure],
    changes: Iterable[Change] = (),
) -> Compared:
    """Runs a definition with the values of recorded keys, and compares with what was recorded.

    Args:
        registration: says what gives the inputs.
        definition: today's.
        values: the checkpoint's non-tensor values, for a factory that takes them.
        sides: the definition as it was recorded, and as it is.
        changes: between the two, explained.
    """
    if registration.inputs is None:
        return Compared()
    try:
        name, setup = _setup(registration, definition, values)
        known = sides[0].outputs.get(name)
        if known is None or not same_inputs(known, setup.inputs.digests):
            possible = recorded(registration, definition, values, sides[1])
            return _unknown(name, definition, known) if possible.outputs else possible
        return _compared(setup, sides, known, tuple(changes))
    except (NotRunError, CkptCompatError) as error:
        return _not_run(definition, error)
    except Exception as error:  # the verdict of the load stands
        return Compared(notes=failed("comparing the outputs", error))


def _unknown(name: str, definition: Definition, known: Outputs | None) -> Compared:
    """What is said where nothing was recorded for the inputs that are given now."""
    what = f"no outputs of {_name(definition)} have been recorded for {name}"
    if known is not None:
        what = f"outputs of {_name(definition)} were recorded for other inputs than {name} gives"
    return Compared((Change("no-baseline", detail=f"{what}; {_RECORD}"),))


def name_of(registration: Registration) -> str:
    """The name under which a snapshot keeps what a definition computes.

    Raises:
        BuildError: the function cannot be imported.
        UsageError: it is not a function that can be called without arguments.
    """
    return factory_of(registration.inputs).name


def _setup(
    registration: Registration, definition: Definition, values: Mapping[str, Any]
) -> tuple[str, Setup]:
    factory = factory_of(registration.inputs)
    if definition.parts:
        raise NotRunError("a model of several parts is not run")
    if definition.loader is not None:
        raise NotRunError("what a loader gives is not run")
    budget = registration.policy.memory_budget
    return factory.name, Setup(definition, values, inputs_of(factory), budget)


def _not_run(definition: Definition, error: Exception) -> Compared:
    if isinstance(error, CkptCompatError):
        return Compared(could_not_check(error).changes)
    return Compared(notes=(f"outputs of {_name(definition)} not compared: {error}",))


def _name(definition: Definition) -> str:
    return definition.name or "the model"


def _unsteady(definition: Definition) -> str:
    reason = "in eval mode, two runs with the same values differ"
    return f"outputs of {_name(definition)} not compared: {reason}"


def _compared(
    setup: Setup, sides: tuple[Structure, Structure], known: Outputs, changes: tuple[Change, ...]
) -> Compared:
    try:
        trial, found = _first(setup, sides, changes)
    except NotFilledError:
        settled = _settled(setup, sides, known, changes)
        if settled is None:
            raise
        return settled
    difference = _drift(known, found, sides, trial)
    if difference is None:
        return _proven(setup, sides[0], trial)
    if drift(found, run(setup, sides[0], trial.way, seed=1)) is not None:
        return Compared(notes=(_unsteady(setup.definition),))
    settled = _settled(setup, sides, known, changes) if trial.doubtful else None
    if settled is not None:
        return settled
    words = _words(difference, known, found, sides[1], setup.definition)
    return Compared((Change("output-drift", detail=f"{_after(trial)}{words}"),))


def _settled(
    setup: Setup, sides: tuple[Structure, Structure], known: Outputs, changes: tuple[Change, ...]
) -> Compared | None:
    """The first of the other ways to pair what is in doubt that computes the same; None if none does."""
    from pytest_ckpt_compat._check.tries import others

    for number, each in enumerate(others(changes, *sides), 1):
        found = _ran(setup, sides[0], each)
        if isinstance(found, Outputs) and _drift(known, found, sides, each) is None:
            return _proven(setup, sides[0], each, f"the {_ordinal(number)} of the other ways to pair them")
    return None


def _first(
    setup: Setup, sides: tuple[Structure, Structure], changes: tuple[Change, ...]
) -> tuple[Trial, Outputs]:
    """The first way in which every tensor gets a value: the load alone, the remap, the renames found."""
    why = NotFilledError("nothing is known to become its tensors")
    for trial in _trials(setup.definition, sides, changes):
        found = _ran(setup, sides[0], trial)
        if isinstance(found, Outputs):
            return trial, found
        why = found
    raise why


def _ran(setup: Setup, old: Structure, trial: Trial) -> Outputs | NotFilledError:
    """What the definition computes in one way, or why not every tensor gets a value in it."""
    try:
        return run(setup, old, trial.way)
    except NotFilledError as error:
        return error


def _trials(
    definition: Definition, sides: tuple[Structure, Structure], changes: tuple[Change, ...]
) -> Iterator[Trial]:
    clear = {a: b for each in changes for a, b in moves(each)}
    yield Trial(moved=clear)
    if fingerprint.digest(sides[0]) == fingerprint.digest(sides[1]):
        return
    for chain in definition.remap.later if definition.remap is not None else ():
        yield Trial(chain.name, partial(_migrated, chain, sides[0]), moved=clear)
    from pytest_ckpt_compat._check.tries import own

    yield from own(changes, *sides)


def _migrated(chain: Chain, old: Structure, state: Mapping[str, Any], module: Any) -> Mapping[str, Any]:
    """What migrations make of the values that the earlier definition's keys give."""
    try:
        return chain(state, module, old)
    except RemapError as error:
        raise NotFilledError(str(error)) from error


def _drift(known: Outputs, found: Outputs, sides: tuple[Structure, Structure], trial: Trial) -> Drift | None:
    old, new = sides
    places = pairs(old, new, trial.moved).both if old.modules and new.modules else None
    return drift(known, found, places)


def _proven(setup: Setup, old: Structure, trial: Trial, how: str = "") -> Compared:
    """Says what is proven; a rename in doubt is only if its tensors have a part in the outputs."""
    if not trial.name:
        return Compared()
    used: frozenset[str] = frozenset()
    if trial.doubtful:
        used = exercised(setup, old, trial.way)
    proven = {a: b for a, b in trial.doubtful.items() if b.rpartition(".")[0] in used}
    left = len(trial.doubtful) - len(proven)
    notes = [
        f"proven by outputs: after {trial.name} it computes what it computed{f' ({how})' if how else ''}"
    ]
    if left:
        notes.append(f"not {EVIDENCE}: {count(left, 'renamed tensor')} without a part in them")
    return Compared(notes=tuple(notes), proven=proven)


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _after(trial: Trial) -> str:
    return f"after {trial.name} it " if trial.name else ""


def _words(difference: Drift, known: Outputs, found: Outputs, new: Structure, definition: Definition) -> str:
    """``computes something else from encoder.act (torch.nn.ReLU) on; the output differs by 0.0016``."""
    told = [f"computes something else {_cause(difference, new, definition)}"]
    if math.isfinite(difference.size):
        at = f"output {difference.result}" if difference.result else "the output"
        told.append(f"{at} differs by {difference.size:.2g}")
    else:
        told.append(_shapes(difference.result, known, found))
    if known.precision != found.precision:
        told.append(f"it computes in {found.precision}, not in {known.precision}")
    return "; ".join(told)


def _cause(difference: Drift, new: Structure, definition: Definition) -> str:
    """Where the computation becomes another: in a module, or in the forward around it."""
    outermost = f"in forward of {new.modules.get('', '') or definition.name or 'the model'}"
    path = difference.module
    if path is None:
        return f"after its modules, {outermost}"
    if not difference.given:
        kind = new.modules.get(path, "")
        return f"from {path}{f' ({kind})' if kind else ''} on"
    while path:
        path = path.rpartition(".")[0]
        kind = new.modules.get(path, "")
        if path and kind.rpartition(".")[2] not in ("ModuleList", "ModuleDict"):
            return f"before {difference.module}, in forward of {kind} ({path})"
    return f"before {difference.module}, {outermost}"


def _shapes(result: str, known: Outputs, found: Outputs) -> str:
    name = f"output {result}" if result else "the output"
    before, after = known.results.get(result), found.results.get(result)
    if before is None or after is None:
        return f"{count(len(found.results), 'output')}, were {len(known.results)}"
    return f"{name} is {after.dtype}{list(after.shape)}, was {before.dtype}{list(before.shape)}"
