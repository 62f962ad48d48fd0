"""Runs a project's own loader while what it reads has no data, and judges each load in it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.display import size
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError, NoBaselineError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import Source, Structure, alias_groups
from pytest_ckpt_compat._definition.build import move_to_meta, parameters_on_meta
from pytest_ckpt_compat._definition.counterparts import Counterparts, on_meta
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.entries import identity, registered, spec_of, structure_of
from pytest_ckpt_compat._definition.find import Definition, Loader, brief, is_module
from pytest_ckpt_compat._definition.observation import REPORT, Observation, Outcome, quiet_copies
from pytest_ckpt_compat._definition.stand_ins import Files, stand_ins
from pytest_ckpt_compat._definition.surroundings import untouched_globals
from pytest_ckpt_compat._definition.watch import Watched, storage_of, watch_operators

if TYPE_CHECKING:
    from torch import nn


@dataclass
class _Call:
    """One ``load_state_dict`` that got tensors of the checkpoint.

    Attributes:
        module: what it was called on.
        given: key -> spec, what it got.
        aliases: groups of keys in it that share a tensor.
        outcome: what torch reported.
        error: what it raised, or None.
        path: of ``module`` in the module that the report is about.
    """

    module: nn.Module
    given: Mapping[str, Any]
    aliases: tuple[tuple[str, ...], ...]
    outcome: Outcome
    error: BaseException | None
    path: str = ""


@dataclass
class _Run:
    """One run of a loader.

    Attributes:
        result: what it returned.
        error: what it raised, or None.
        calls: the loads in it, in order.
        watched: the operators that ran.
        doubts: why a run with real tensors may differ.
        served: whether it read the checkpoint through a function that stands in.
    """

    result: Any = None
    error: BaseException | None = None
    calls: list[_Call] = field(default_factory=list)
    watched: Watched = field(default_factory=Watched)
    doubts: Doubts = field(default_factory=Doubts)
    served: bool = False

    @property
    def reads(self) -> bool:
        """Whether it asked tensors for numbers, or failed where tensors without numbers may be the cause."""
        read = any(storage_of(tensor) in self.watched.derived for tensor in self.watched.doubts.read)
        return self.watched.numbers or self.watched.refused or self.watched.doubts.asked or read


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
    there = bool(structure.locations)
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
    new, outcome = _judged(run, structure, definition, loader)
    return new, replace(outcome, read_weights=there and reads)


def run_really(definition: Definition, loader: Loader) -> nn.Module:
    """Runs a loader on the checkpoint itself. What it raises passes through.

    Raises:
        BuildError: it returned no module.
    """
    with untouched_globals():
        found = loader.function(definition.path, **definition.kwargs)
    if not is_module(found):
        raise BuildError(f"load {loader.name}", f"gave {type(found).__name__}", "return the module")
    return found  # type: ignore[no-any-return]


def _certain(run: _Run, structure: Structure) -> bool:
    """Whether a run on the meta device says what one with real tensors would."""
    if run.error is not None or run.reads or run.doubts.reasons or run.watched.doubts.reasons:
        return False
    if not is_module(run.result):
        return True
    return not _nothing(run, structure) and not any(call.error or call.outcome.nothing for call in run.calls)


def _decided(run: _Run) -> bool:
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


def _run(structure: Structure, definition: Definition, loader: Loader, tensors: str) -> _Run:
    """Runs a loader once.

    Args:
        structure: the structure of the checkpoint.
        definition: the definition that the loader belongs to.
        loader: the project's.
        tensors: what it reads: ``meta``, the ``file``'s own, or ``zeros``.
    """
    run = _Run()
    counterparts = Counterparts(on_meta, run.doubts)
    on = parameters_on_meta(counterparts, run.doubts) if tensors == "meta" else contextlib.nullcontext()
    with untouched_globals(), quiet_copies(), watch_operators({}, users=True) as watched:
        run.watched = watched
        files = Files(structure, definition.path, tensors, watched)
        moved = counterparts if tensors == "meta" else None
        try:
            with on, stand_ins(files), _watched_loads(run, structure, definition, moved):
                run.result = loader.function(definition.path, **definition.kwargs)
        except (KeyboardInterrupt, CkptCompatError):
            raise
        except BaseException as error:
            run.error = error
    run.served = files.served
    return run


@contextlib.contextmanager
def _watched_loads(
    run: _Run, structure: Structure, definition: Definition, moved: Counterparts | None
) -> Iterator[None]:
    """Notes each ``load_state_dict`` of a tensor of the checkpoint; inner ones are part of the outer."""
    import torch

    original, inside = torch.nn.Module.load_state_dict, False

    def load_state_dict(module: Any, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        ours = isinstance(state_dict, Mapping) and any(map(run.watched.origins, state_dict.values()))
        if inside or not ours:
            return original(module, state_dict, *args, **kwargs)
        if moved is not None:
            move_to_meta(module, moved)
        observation = Observation(module, replace(structure, objects={}), definition, saves=False)
        given = {key: spec_of(value) for key, value in state_dict.items()}
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
            run.calls.append(_Call(module, given, alias_groups(same), outcome, raised))

    torch.nn.Module.load_state_dict = load_state_dict  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.nn.Module.load_state_dict = original  # type: ignore[method-assign]


def _judged(
    run: _Run, structure: Structure, definition: Definition, loader: Loader
) -> tuple[Structure, Outcome]:
    """What the loads of a run say together, in the keys of the module that was returned."""
    final = run.error if any(call.error is run.error for call in run.calls) else None
    counted = [call for call in run.calls if call.error is None or call.error is final]
    swallowed = [call for call in run.calls if call not in counted]
    if not counted and run.error is None:
        counted, swallowed = swallowed, []
    whole = _whole(run, counted)
    names = {id(part): name for name, part in whole.named_modules()} if whole is not None else {}
    parts = [_named(call, names.get(id(call.module), "")) for call in counted]
    new = Structure({}, source=Source(definition.name, "definition"))
    if whole is not None:
        new = structure_of(whole, definition)
    errors = [error for part in parts for error in part.outcome.errors]
    if run.error is not None and not (final is not None and counted[-1].outcome.complete):
        errors = [*dict.fromkeys(errors), f"load {loader.name} raised {brief(run.error)}"]
        errors = [error for error in errors if final is None or error != brief(final)]
    missing = _in_all(parts)
    outcome = Outcome(
        raised=run.error is not None or any(call.error for call in counted),
        strict=any(part.outcome.strict for part in parts),
        complete=all(part.outcome.complete for part in parts),
        missing=missing,
        unexpected=tuple(dict.fromkeys(key for part in parts for key in part.outcome.unexpected)),
        mismatched={key: shapes for part in parts for key, shapes in part.outcome.mismatched.items()},
        errors=tuple(errors),
        untouched=_untouched(run, whole, new, parts) if run.error is None and whole is not None else (),
        nothing=run.error is None and _nothing(run, structure),
        given=_given(parts, structure),
        notes=tuple(_remarks(loader, swallowed)),
    )
    return new, outcome


def _remarks(loader: Loader, swallowed: list[_Call]) -> Iterator[str]:
    yield f"loaded by {loader.name}"
    for call in swallowed:
        kind, error = type(call.module).__name__, type(call.error).__name__
        yield f"{loader.name} went on after load_state_dict of {kind} had raised {error}"


def _whole(run: _Run, calls: list[_Call]) -> nn.Module | None:
    """The module that the report is about: what was returned, or else what was last loaded into."""
    result: nn.Module | None = run.result if is_module(run.result) else None
    if result is not None:
        parts = set(map(id, result.modules()))
        if not calls or any(id(call.module) in parts for call in calls):
            return result
    return calls[-1].module if calls else result


def _named(call: _Call, path: str) -> _Call:
    """A load with its keys as the whole module has them."""
    if not path:
        return call

    def own(keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{path}.{key}" for key in keys)

    found = call.outcome
    outcome = replace(
        found,
        missing=own(found.missing),
        unexpected=own(found.unexpected),
        untouched=own(found.untouched),
        mismatched={f"{path}.{key}": shapes for key, shapes in found.mismatched.items()},
    )
    given = {f"{path}.{key}": spec for key, spec in call.given.items()}
    aliases = tuple(map(own, call.aliases))
    return replace(call, given=given, aliases=aliases, outcome=outcome, path=path)


def _in_all(parts: list[_Call]) -> tuple[str, ...]:
    """The missing keys that no other load brought."""
    brought = {key for part in parts for key in part.given}
    missing = dict.fromkeys(key for part in parts for key in part.outcome.missing)
    return tuple(key for key in missing if key not in brought)


def _given(parts: list[_Call], structure: Structure) -> Structure | None:
    """The checkpoint as the loads got it; None where there were none."""
    if not parts:
        return None
    tensors = {key: spec for part in parts for key, spec in part.given.items()}
    return replace(
        structure,
        tensors=tensors,
        aliases=tuple(group for part in parts for group in part.aliases),
        versions=None,
        objects={},
        locations={},
        strides={},
        contents={},
        views=(),
    )


def _untouched(run: _Run, whole: nn.Module, new: Structure, parts: list[_Call]) -> tuple[str, ...]:
    """The keys of the whole module that got nothing of the checkpoint, and are not reported as missing."""
    entries = registered(whole)
    touched = run.watched.reached | run.watched.derived.keys()
    storages = {key: storage_of(entries[key]) for key in new.tensors if key in entries}
    left = [key for key, storage in storages.items() if storage is not None and storage not in touched]
    # Where torch has loaded, it has said what is missing, and may have filled in a number of its own.
    said = {key for part in parts for key in part.outcome.untouched}
    inside = tuple(f"{part.path}." if part.path else "" for part in parts)
    return tuple(key for key in left if key in said or not key.startswith(inside))


def _nothing(run: _Run, structure: Structure) -> bool:
    """Whether the checkpoint has tensors, the module has some, and none of these got anything of those."""
    if run.watched.doubts.read or not is_module(run.result):
        return False
    storages = {storage_of(value) for value in registered(run.result).values()} - {None}
    given = any(math.prod(spec.shape) and spec.dtype != "object" for spec in structure.tensors.values())
    touched = run.watched.reached | run.watched.derived.keys()
    return given and bool(storages) and storages.isdisjoint(touched)
