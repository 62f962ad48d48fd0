"""Runs a project's own loader while what it reads has no data, and judges each load in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.display import size
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError, NoBaselineError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import Structure, alias_groups
from pytest_ckpt_compat._definition.build import move_to_meta, parameters_on_meta
from pytest_ckpt_compat._definition.counterparts import Counterparts, on_meta
from pytest_ckpt_compat._definition.entries import identity, spec_of
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.given import own_arguments
from pytest_ckpt_compat._definition.loader_outcome import Call, Run, judged, reached_nothing
from pytest_ckpt_compat._definition.names import brief, is_module
from pytest_ckpt_compat._definition.observation import REPORT, Observation, Outcome, quiet_copies
from pytest_ckpt_compat._definition.peft_run import of_adapters
from pytest_ckpt_compat._definition.peft_settings import is_peft_model
from pytest_ckpt_compat._definition.project_code import Loader
from pytest_ckpt_compat._definition.stand_ins import Files, file_is_there, stand_ins
from pytest_ckpt_compat._definition.surroundings import untouched_globals
from pytest_ckpt_compat._definition.watch import watch_operators

if TYPE_CHECKING:
    from torch import nn


def load(
    structure: Structure, definition: Definition, loader: Loader, budget: int
) -> tuple[Structure, Outcome]:
    """Runs a loader. Returns the structure of what it loaded into, and what its loads reported.

    The first run has tensors on the meta device. If it raises, brings in nothing, or is in doubt, a second
    one has real tensors: the file's own where it is there, else zeros.

    Args:
        structure: the structure of the checkpoint.
        definition: the definition that the loader belongs to.
        loader: the project's.
        budget: bytes that the zeros may take.

    Raises:
        BuildError: it returned no module.
        NoBaselineError: it needs the file, which is not there.
        ReadError: it reads the file in a way that cannot be checked.
    """
    there = file_is_there(structure, definition.path)
    run = _run(structure, definition, loader, "meta")
    needed = sum(spec.nbytes for spec in structure.tensors.values())
    reads = run.reads
    if not _certain(run, structure):
        if not there and needed > budget:
            why = f"zeros in place of its tensors take {size(needed)}, memory_budget is {size(budget)}"
            raise _needs_file(structure, loader, f"{why}{f' ({brief(run.error)})' if run.error else ''}")
        run = _run(structure, definition, loader, "file" if there else "zeros")
        if not there and not _decided(run):
            reason = brief(run.error) if run.error else "it reads numbers"
            raise _needs_file(structure, loader, reason)
    if run.error is None and not is_module(run.result):
        raise BuildError(
            f"load {loader.name}",
            f"gave {type(run.result).__name__}, not a torch.nn.Module",
            "return the module that it has loaded",
        )
    if run.error is None and not run.calls and not run.observed:
        raise _unwatched(run, loader)
    new, outcome = judged(run, structure, definition, loader)
    return new, replace(outcome, read_weights=there and reads)


def _unwatched(run: Run, loader: Loader) -> BuildError:
    subject = f"load {loader.name}"
    if run.served:
        problem = "takes numbers out of tensors, so that what becomes of them is not known"
        advice = "give model instead of load, or take no numbers out"
        return BuildError(subject, f"calls no load_state_dict, and {problem}", advice)
    problem = "reads the file in a way that is not watched, and calls no load_state_dict"
    return BuildError(
        subject, problem, "read it with torch.load or safetensors, or load with load_state_dict"
    )


def loaded_by(checkpoint: Structure, definition: Definition, budget: int) -> Definition:
    """The module that a loader gives for a checkpoint, as a definition without a loader.

    Args:
        checkpoint: its structure.
        definition: one with a loader; its own is returned where it has none.
        budget: bytes that real tensors may take; above it, the module has tensors on the meta device.

    Raises:
        BuildError: the loader raises, or returns no module.
        NoBaselineError: it needs the file, which is not there.
    """
    loader = definition.loader
    if loader is None:
        return definition
    needed = sum(spec.nbytes for spec in checkpoint.tensors.values())
    there = file_is_there(checkpoint, definition.path)
    real = "file" if there else "zeros"
    run = _run(checkpoint, definition, loader, real if needed <= budget else "meta")
    if not there and run.error is not None and not _decided(run):
        raise _needs_file(checkpoint, loader, brief(run.error))
    if run.error is not None or not is_module(run.result):
        gave = brief(run.error) if run.error else f"it gave {type(run.result).__name__}"
        raise BuildError(f"load {loader.name}", f"gives no module ({gave})", "make it load the checkpoint")
    return Definition(run.result, definition.name, definition.where, {}, False, path=definition.path)


def run_really(definition: Definition, loader: Loader) -> nn.Module:
    """Runs a loader on the checkpoint itself. What it raises passes through.

    Raises:
        BuildError: it returned no module.
    """
    with untouched_globals():
        found = loader.function(definition.path, **own_arguments(definition.kwargs))
    if not is_module(found):
        raise BuildError(f"load {loader.name}", f"gave {type(found).__name__}", "return the module")
    return found  # type: ignore[no-any-return]


def _certain(run: Run, structure: Structure) -> bool:
    """Whether a run on the meta device says what one with real tensors would."""
    if run.error is not None or run.reads or run.doubts.reasons or run.watched.doubts.reasons:
        return False
    if not is_module(run.result):
        return True
    return not reached_nothing(run, structure) and not any(
        call.error or call.outcome.nothing for call in run.calls
    )


def _decided(run: Run) -> bool:
    """Whether a run with zeros, in place of a file that is not there, says what one with the file would."""
    if run.watched.numbers or run.watched.doubts.read:
        return False
    return run.error is None or (run.served and words(run.error).startswith(REPORT))


def _needs_file(structure: Structure, loader: Loader, reason: str) -> NoBaselineError:
    return NoBaselineError(
        structure.source.path or loader.name,
        f"load {loader.name} could not be run without the file: {reason}",
        "check against the checkpoint file itself, not a snapshot",
    )


def _run(structure: Structure, definition: Definition, loader: Loader, tensors: str) -> Run:
    """Runs a loader once.

    Args:
        structure: the structure of the checkpoint.
        definition: the definition that the loader belongs to.
        loader: the project's.
        tensors: what it reads: ``meta``, the ``file``'s own, or ``zeros``.
    """
    run = Run()
    counterparts = Counterparts(on_meta, run.doubts)
    on = parameters_on_meta(counterparts, run.doubts) if tensors == "meta" else contextlib.nullcontext()
    with untouched_globals(), quiet_copies(), watch_operators({}, users=True) as watched:
        run.watched = watched
        files = Files(structure, definition.path, tensors, watched)
        moved = counterparts if tensors == "meta" else None
        try:
            with on, stand_ins(files), _watched_loads(run, structure, definition, moved):
                run.result = loader.function(definition.path, **own_arguments(definition.kwargs))
        except (KeyboardInterrupt, CkptCompatError):
            raise
        except BaseException as error:
            run.error = error
    run.served = files.served
    return run


def _seen(
    structure: Structure, state: Mapping[str, Any], given: Mapping[str, Any], definition: Definition
) -> Structure:
    """The checkpoint as one load gets it, with the versions that are left in it.

    The objects in a file are real; where a snapshot stands in, none may reach ``set_extra_state``.
    """
    metadata = getattr(state, "_metadata", None)
    versions = None if metadata is None else {n: each.get("version", 1) for n, each in metadata.items()}
    objects = dict.fromkeys(given) if file_is_there(structure, definition.path) else {}
    return replace(structure, tensors=given, versions=versions, objects=objects)


@contextlib.contextmanager
def _watched_loads(
    run: Run, structure: Structure, definition: Definition, moved: Counterparts | None
) -> Iterator[None]:
    """Notes each ``load_state_dict``; inner ones are part of the outer."""
    import torch

    original, inside = torch.nn.Module.load_state_dict, False

    def load_state_dict(module: Any, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if inside or not isinstance(state_dict, Mapping):
            return original(module, state_dict, *args, **kwargs)
        ours = any(map(run.watched.origins, state_dict.values()))
        if moved is not None and ours:
            move_to_meta(module, moved)
        given = {key: spec_of(value) for key, value in state_dict.items()}
        seen = _seen(structure, state_dict, given, definition)
        observation = Observation(module, seen, definition, saves=False)
        observation.begins(seen)
        same = {key: identity(value) for key, value in state_dict.items() if given[key].numel}
        strict = bool(args[0] if args else kwargs.get("strict", True))
        raised: BaseException | None = None
        inside = True
        try:
            return original(module, state_dict, *args, **kwargs)
        except BaseException as error:
            raised = error
            raise
        finally:
            inside = False
            outcome = observation.outcome(raised, state_dict, strict, run.watched)
            if is_peft_model(module) and not strict:
                missing = of_adapters(module, outcome.missing, given, definition)
                outcome = replace(outcome, missing=missing)
            run.made.append(Call(ours, module, given, alias_groups(same), outcome, raised))

    torch.nn.Module.load_state_dict = load_state_dict  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.nn.Module.load_state_dict = original  # type: ignore[method-assign]
