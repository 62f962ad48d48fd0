"""Loads an adapter of PEFT as that library does: with ``PeftModel.from_pretrained``, or ``load_adapter``.

The library reads an adapter from a folder. It gets one with the configuration, and tensors without data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.adapters import ADAPTER, CONFIG, config_of
from pytest_ckpt_compat._core.display import size
from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError
from pytest_ckpt_compat._core.structure import Source, Structure
from pytest_ckpt_compat._definition.build import build, build_real, parameters_on_meta
from pytest_ckpt_compat._definition.chain import Chain
from pytest_ckpt_compat._definition.counterparts import Counterparts, on_meta
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.empty_state import empty_state
from pytest_ckpt_compat._definition.entries import bytes_of, spec_of
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.observation import Outcome, mismatches, require_complete
from pytest_ckpt_compat._definition.peft_run import Run, adapter_folder, run_peft, saved_by
from pytest_ckpt_compat._definition.peft_settings import adapter_of, is_peft_model, remarks
from pytest_ckpt_compat._definition.project_code import RemapError
from pytest_ckpt_compat._definition.remap import Remapped, remapped
from pytest_ckpt_compat._definition.surroundings import untouched_globals
from pytest_ckpt_compat._definition.walk import tensors_of
from pytest_ckpt_compat._definition.watch import watch_operators
from pytest_ckpt_compat._definition.weights import read_weights
from pytest_ckpt_compat._registry.options import PEFT

if TYPE_CHECKING:
    from torch import nn


def applies(module: nn.Module, structure: Structure, definition: Definition) -> bool:
    """Whether peft loads a checkpoint into a built definition.

    It does where the configuration of an adapter lies beside the weights, and where the definition is a
    PeftModel and the keys are those of one of its adapters alone.

    Raises:
        BuildError: the registration names peft, and the checkpoint is no adapter.
    """
    ours = config_of(structure) is not None
    if not ours and is_peft_model(module):
        ours = _is_of_adapter(module, structure, definition)
    if definition.library == PEFT and not ours:
        raise BuildError(
            structure.source.path or definition.label,
            f"has no {CONFIG} beside its weights, so it is no adapter of peft",
            "give the directory that save_pretrained has written, or leave load out",
        )
    return ours


def _is_of_adapter(module: nn.Module, structure: Structure, definition: Definition) -> bool:
    """Whether keys are those of an adapter of a PeftModel, rather than those of the whole model."""
    try:
        whole, own = saved_by(module, adapter_of(module, structure), definition)
    except NotImplementedError:
        return False
    keys = structure.tensors.keys()
    return len(keys & own.keys()) > len(keys & whole.keys())


def load(
    module: nn.Module, structure: Structure, definition: Definition, strict: bool, budget: int, doubts: Doubts
) -> tuple[Structure, Outcome]:
    """Loads an adapter with peft. Returns what the adapter of the definition saves, and what peft reported.

    The first load has tensors on the meta device. If it raises, lacks something, or is in doubt, one with
    real tensors decides, unless the model takes more than the budget.

    Args:
        module: the built definition, on the meta device: the base of the adapter, or a PeftModel.
        structure: the structure of the adapter.
        definition: the definition of ``module``.
        strict: whether missing and unexpected keys are breaks; peft only warns of them, or says nothing.
        budget: bytes that the real tensors of both sides may take together.
        doubts: the doubts about ``module``; more may be added.

    Raises:
        BuildError: peft cannot be imported.
    """
    how = remarks(module, structure)
    needed = bytes_of(tensors_of(module)) + sum(spec.nbytes for spec in structure.tensors.values())
    made = [module]  # peft changes the module that it is given

    def on_meta_device() -> nn.Module:
        return made.pop() if made else build(definition, structure.values)

    unused = Doubts()  # peft asks for devices on purpose: it may have its adapters on meta, too
    with parameters_on_meta(Counterparts(on_meta, unused), unused):
        new, outcome = _loaded(on_meta_device, structure, definition, "meta", doubts)
    if outcome.raised or outcome.missing or outcome.unexpected or doubts.reasons:
        if needed <= budget:
            new, outcome = _loaded(
                lambda: build_real(definition, structure.values), structure, definition, "cpu", doubts
            )
        else:
            why = f"they take {size(needed)}, memory_budget is {size(budget)}"
            outcome = replace(outcome, unconfirmed=f"not confirmed with real tensors: {why}")
    raised = outcome.raised or (strict and bool(outcome.missing or outcome.unexpected))
    nothing = outcome.nothing and not raised
    return new, replace(outcome, raised=raised, strict=strict, nothing=nothing, notes=how)


def load_real(module: nn.Module, structure: Structure, definition: Definition, strict: bool) -> nn.Module:
    """Loads an adapter's real weights with peft. Returns the PeftModel.

    Raises:
        ReadError: a tensor's data cannot be read.
        RuntimeError: keys are missing or unexpected, and ``strict`` is true. What peft raises passes through.
    """
    state: Mapping[str, Any] = read_weights(structure)
    if definition.remap is not None:
        state = definition.remap(state, module, structure)
        structure = replace(structure, tensors={key: spec_of(value) for key, value in state.items()})
    with adapter_folder(structure, state) as folder:
        run = run_peft(module, structure, definition, folder)
    if run.error is not None:
        raise run.error
    if strict:
        require_complete(_outcome(run, structure), run.model)
    return run.model  # type: ignore[no-any-return]


def _loaded(
    make: Callable[[], nn.Module], structure: Structure, definition: Definition, device: str, doubts: Doubts
) -> tuple[Structure, Outcome]:
    """Loads an adapter once; where shapes differ, a second time for the keys that peft does not get to."""
    state, module = empty_state(structure, device), make()
    done: Remapped | None = None
    if definition.remap is not None:
        try:
            state, done = _after_remap(definition.remap, state, module, structure, doubts)
        except RemapError as error:
            return Structure({}), Outcome(raised=True, errors=(str(error),))
        structure = done.structure
    with adapter_folder(structure, state) as folder:
        run = run_peft(module, structure, definition, folder)
        shapes = mismatches(run.error)
        if shapes:
            again = run_peft(make(), structure, definition, folder, ignore_mismatched_sizes=True)
            if again.error is None:
                missing = tuple(key for key in again.missing if key not in shapes)
                run = replace(run, missing=missing, unexpected=again.unexpected)
    if run.prompt:
        doubts.add("peft computes the prompt that it saves")
    groups = (tuple(key for key in group if key in run.saved) for group in structure.aliases)
    aliases = tuple(group for group in groups if len(group) > 1)  # peft copies values: ties mean nothing
    new = Structure(run.saved, aliases, source=Source(definition.name or definition.label, ADAPTER))
    return new, replace(_outcome(run, structure), remapped=done)


def _after_remap(
    remap: Chain, state: Mapping[str, Any], module: nn.Module, structure: Structure, doubts: Doubts
) -> tuple[Mapping[str, Any], Remapped]:
    """What the migrations make of the tensors in a file.

    Raises:
        NoBaselineError: it reads numbers, which peft's own load does not need.
        RemapError: it raises, or returns no state_dict.
    """
    with untouched_globals(), watch_operators(state, users=True) as watched:
        given, migrated = remap.watched(state, module, structure)
        done = replace(remapped(remap.name, structure, state, given, watched), migrated=migrated)
    if watched.numbers:
        problem = f"{remap.name} reads the numbers of an adapter"
        raise NoBaselineError(structure.source.path, problem, "name your own loader with load=")
    for reason in watched.doubts.reasons:
        doubts.add(reason)
    return given, done


def _outcome(run: Run, structure: Structure) -> Outcome:
    """What peft said, in the keys of the file."""
    files, shapes = structure.tensors, mismatches(run.error)
    mismatched = {run.keys[key]: shapes[key] for key in shapes if key in run.keys}
    if _lacks_module(run, structure):
        missing = tuple(key for key in run.saved if key not in files)
        return Outcome(raised=True, missing=missing, unexpected=tuple(k for k in files if k not in run.saved))
    unexpected = tuple(_in_file(key, run.adapter, structure) for key in run.unexpected)
    unknown = run.error is not None and len(mismatched) < max(1, len(shapes))
    return Outcome(
        raised=run.error is not None,
        missing=tuple(run.keys.get(key, key) for key in run.missing),
        unexpected=unexpected,
        mismatched=mismatched,
        errors=(f"peft raised {brief(run.error)}",) if unknown and run.error is not None else (),
        nothing=run.error is None and bool(files) and files.keys() <= {*unexpected},
    )


def _lacks_module(run: Run, structure: Structure) -> bool:
    """Whether peft failed because the file has no key of a module that is saved with the adapter."""
    key = run.error.args[0] if isinstance(run.error, KeyError) and run.error.args else None
    return isinstance(key, str) and key in run.saved and key not in structure.tensors


def _in_file(key: str, adapter: str, structure: Structure) -> str:
    """The key of a file into which peft has put an adapter's name; the key itself if there is none."""
    parts = key.split(".")
    without = (".".join((*parts[:n], *parts[n + 1 :])) for n, part in enumerate(parts) if part == adapter)
    return next((each for each in (key, *without) if each in structure.tensors), key)
