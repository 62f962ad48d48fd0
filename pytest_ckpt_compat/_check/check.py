"""Reads a checkpoint, loads it into a definition, and judges what torch finds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_ckpt_compat._check import breaks, compare, left_out, migrations
from pytest_ckpt_compat._check import wrapper as wrappers
from pytest_ckpt_compat._check.averaged import averaged
from pytest_ckpt_compat._check.causes import with_causes
from pytest_ckpt_compat._check.explain import explained, grouped
from pytest_ckpt_compat._check.facts import as_changes
from pytest_ckpt_compat._check.judged import as_strictly
from pytest_ckpt_compat._check.loading import find_wrapper, load, on_meta
from pytest_ckpt_compat._check.notes import failed, notes_of
from pytest_ckpt_compat._check.openable import unopenable
from pytest_ckpt_compat._check.other_blocks import with_other_blocks
from pytest_ckpt_compat._check.reading import read_for
from pytest_ckpt_compat._check.recorded import Recorded, nothing, parts_of, with_classes
from pytest_ckpt_compat._check.sizes import everywhere
from pytest_ckpt_compat._check.trials import Trial
from pytest_ckpt_compat._check.unmerged import restated
from pytest_ckpt_compat._check.wrapper import Wrapper
from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.adapters import config_of
from pytest_ckpt_compat._core.changes import Change, Policy, moves
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import BuildError, CkptCompatError, UsageError
from pytest_ckpt_compat._core.garbage import garbage_collection_paused
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._core.rules import BY_ID, judge
from pytest_ckpt_compat._core.structure import OBJECT, Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.chain import Chain
from pytest_ckpt_compat._definition.find import Definition, find
from pytest_ckpt_compat._definition.observation import Outcome
from pytest_ckpt_compat._registry import options
from pytest_ckpt_compat._report.text import render

#: The options that can be judged by their types alone.
_PLAIN = tuple(each for each in options.OPTIONS if each.name in ("path", "kwargs", "key", "strip_prefix"))


def diff(old: Structure, new: Structure) -> Verdict:
    """Compares two structures as a strict load of ``old`` into ``new`` would, without hooks."""
    wrapper = wrappers.by_names(old, new)
    bare = wrapper.unwrap(old) if wrapper else old
    changes, notes = explained(compare.compare(bare, new), bare, new)
    if wrapper:
        changes = wrappers.composed(wrapper, changes, old, new)
    changes = with_causes(restated(changes, old, new), old, new)
    changes = everywhere(with_other_blocks(changes, bare, new, nothing))
    meaning, unknown = _settings(old, new, changes)
    return Verdict(
        judge((*changes, *meaning), Policy()),
        old=old,
        new=new,
        old_label=_source(old),
        new_label=_source(new),
        notes=(*notes, *unknown),
        repairs=wrappers.repairs_of(wrapper, changes, new),
        loaded=False,
        renderer=render,
    )


@garbage_collection_paused()
def check(
    path: str | os.PathLike[str],
    model: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    key: str | None = None,
    strip_prefix: str | None = None,
    strict: bool = True,
    migrate: Any = None,
    load: Any = None,
    version: int | str | None = None,
) -> Verdict:
    """Loads a checkpoint's structure into a definition, through its own ``load_state_dict``.

    No weight is read unless the definition's own loading code asks for numbers, and no code from
    the file is run.

    Args:
        path: the checkpoint.
        model: a class, a factory, a module instance, or ``"package.module:attr"``. A factory with
            a parameter named ``checkpoint`` is given the file's non-tensor values. It may be left out where
            ``load`` gives the module. A mapping of part -> one of these is for a file that holds one
            state_dict a part; each is loaded for itself.
        kwargs: keyword arguments for the class or factory, or for the project's loader; of several parts,
            a mapping of part -> keyword arguments.
        key: dotted path of the state_dict inside the file, where it is not the only one.
        strip_prefix: taken off the keys that begin with it (``"module."``).
        strict: as in ``load_state_dict``.
        migrate: applied before the load: function, name of one, or file of rules; a list; version -> one.
        load: the project's whole loader, ``function(path, **kwargs) -> module``, which is then what is
            judged; or ``"package.module:function"``; or the name of a library that loads the checkpoint.
        version: of the file, or its place in the file, for ``migrate`` by version.

    Raises:
        ReadError: the file cannot be read.
        BuildError: the definition cannot be found or built.
        NoBaselineError: the definition's loading code needs numbers that cannot be read.
        UsageError: an argument cannot be meant.
    """
    path = os.fspath(path)
    options.check(
        "check()", {"path": path, "kwargs": kwargs, "key": key, "strip_prefix": strip_prefix}, _PLAIN
    )
    definition = find(model, kwargs, migrate, load, path, version=version)
    structure, notes = read_for(path, key, definition, strip_prefix)
    verdict = check_structure(structure, definition, Policy(strict=strict), strip_prefix)
    return replace(verdict, notes=(*verdict.notes, *notes))


@garbage_collection_paused()
def check_structure(
    structure: Structure,
    definition: Definition,
    policy: Policy,
    strip_prefix: str | None = None,
    recorded: Recorded = nothing,
) -> Verdict:
    """Loads a structure into a definition; the verdict is torch's own.

    Args:
        structure: the checkpoint.
        definition: what it is loaded into.
        policy: strictness and accepted breaks.
        strip_prefix: as ``check`` takes it.
        recorded: gives definitions of which one may have saved the checkpoint.

    Raises: as ``check``.
    """
    if definition.parts:
        from pytest_ckpt_compat._check.parts import check_parts

        verdict = check_parts(
            structure,
            definition,
            policy,
            lambda s, d, p: check_structure(s, d, p, strip_prefix, parts_of(recorded, definition)),
        )
        return _opened(verdict, structure, policy)
    if strip_prefix:
        structure = _stripped(structure, definition, strip_prefix)
    structure = lightning.with_file(structure, definition.target, definition.hparams_file, definition.path)
    definition, chosen = migrations.for_file(structure, definition)
    new, outcome = load(structure, definition, policy)
    migrations.require_module(chosen, structure, new)
    done, given = outcome.remapped, structure
    if done:  # from here on, the checkpoint is what the migrations made of it
        structure, definition = done.structure, replace(definition, remap=None, prepares=False)
    structure = outcome.given or structure
    changes, notes, wrapper = _explained(structure, new, outcome, definition, policy, recorded)
    if outcome.nothing:
        changes = (Change("nothing-loaded", detail=_nothing(done.before if done else structure)), *changes)
    meaning, unknown = _settings(given, new, changes)
    verdict = Verdict(
        (*as_strictly(changes, outcome, policy), *judge(meaning, policy)),
        old=structure,
        new=new,
        old_label=_source(structure),
        new_label=definition.label,
        where=definition.where,
        notes=(*chosen.notes, *notes_of(definition, structure, outcome), *unknown, *notes),
        repairs=wrappers.repairs_of(wrapper, changes, new),
        before=done.before if done else None,
        remapped=done.renamed if done else {},
        migrated=migrations.migrated(done, chosen),
        renderer=render,
    )
    return _opened(migrations.with_excesses(verdict), structure, policy)


def _explained(
    structure: Structure,
    new: Structure,
    outcome: Outcome,
    definition: Definition,
    policy: Policy,
    recorded: Recorded,
) -> tuple[tuple[Change, ...], tuple[str, ...], Wrapper | None]:
    """The changes that explain what a load found, remarks, and the prefix that stops the load.

    Args:
        structure: what was loaded.
        new: the definition's.
        outcome: what the load found.
        definition: what it was loaded into.
        policy: as ``check_structure`` takes it.
        recorded: as ``check_structure`` takes it.
    """
    wrapper, unwrapped, impossible = None, outcome, tuple[str, ...]()
    if outcome.missing and definition.loader is None:
        try:
            wrapper, unwrapped = find_wrapper(structure, new, outcome, definition, policy)
        except Exception as error:  # the verdict stands without this second load
            impossible = failed("looking for a prefix", error)
    bare = wrapper.unwrap(structure) if wrapper else structure
    changes, notes = explained(as_changes(bare, new, unwrapped), bare, new, recorded)
    changes = tuple(left_out.restated(changes, unwrapped))
    if wrapper:
        changes = wrappers.composed(wrapper, changes, structure, new, outcome.missing, outcome.unexpected)
    changes = with_causes(restated(changes, structure, new), with_classes(structure, changes, recorded), new)
    changes = tuple(with_other_blocks(changes, bare, new, recorded))
    without = on_meta(policy)
    loads = (lambda s, d: load(s, d, without)[1]), (lambda s, d: load(s, d, policy)[1])
    tried = Trial(bare, new, definition, unwrapped, *loads)
    return tuple(everywhere(tried.explain(changes))), (*impossible, *notes), wrapper


def _settings(
    old: Structure, new: Structure, changes: tuple[Change, ...]
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """As ``with_settings``, which a checkpoint's file gives nothing to compare."""
    if not old.modules:
        return (), ()
    from pytest_ckpt_compat._check.settings import with_settings

    return with_settings(old, new, changes)


def _opened(verdict: Verdict, structure: Structure, policy: Policy) -> Verdict:
    """The verdict, with whether ``torch.load`` opens the file."""
    refused, by = unopenable(structure.pickled, policy)
    return replace(verdict, changes=(*verdict.changes, *refused), repairs=(*verdict.repairs, *by))


def _stripped(structure: Structure, definition: Definition, prefix: str) -> Structure:
    if definition.loader is not None:
        raise UsageError(
            f"load {definition.loader.name}", "was given with strip_prefix", "strip it in the loader"
        )
    return prefixes.strip(structure, prefix)


def check_saved(
    structure: Structure,
    definition: Definition,
    policy: Policy,
    strip_prefix: str | None = None,
    checkpoint: Structure | None = None,
    new: Structure | None = None,
    elsewhere: tuple[Chain, ...] = (),
) -> Verdict:
    """Loads what an earlier definition saved, which a migration of older checkpoints need not be meant for.

    A project's loader opens checkpoints, not what a definition saves: the module that it gives for the
    checkpoint has to load that. Where it gives none, the names decide. A registered migration that repairs
    some of what breaks leaves the rest.

    Args:
        structure: what the earlier definition saved.
        definition: today's.
        policy: strictness and accepted breaks.
        strip_prefix: as ``check`` takes it.
        checkpoint: the registered checkpoint, for the project's loader.
        new: the structure of the module that the loader has loaded into.
        elsewhere: migrations that are registered with other checkpoints of the definition.

    Raises: as ``check``.
    """
    if definition.parts:
        from pytest_ckpt_compat._check.parts import check_parts

        return check_parts(structure, definition, policy, lambda s, d, p: check_saved(s, d, p, strip_prefix))
    if definition.loader is not None:
        from pytest_ckpt_compat._definition.loader import loaded_by

        if checkpoint is None:
            problem = "gives a module of which nothing is known without the checkpoint"
            raise BuildError(f"load {definition.loader.name}", problem, "give model instead of load")
        try:
            definition = loaded_by(checkpoint, definition, policy.memory_budget)
        except CkptCompatError:
            if new is None:
                raise
            return replace(diff(structure, new), new_label=definition.label, where=definition.where)
    best = check_structure(structure, replace(definition, remap=None), policy, strip_prefix)
    for each in migrations.later(definition, elsewhere):
        if best.compatible:
            break
        best = breaks.fewest(best, check_structure(structure, each, policy, strip_prefix))
    return best


def _nothing(structure: Structure) -> str:
    tensors = count(sum(spec.dtype != OBJECT for spec in structure.tensors.values()), "tensor")
    return f"none of {tensors} reaches the definition"


def resumed(
    verdict: Verdict,
    definition: Definition,
    factory: Any,
    policy: Policy,
    checkpoint: Structure | None = None,
) -> Verdict:
    """Adds to a load's verdict that of loading the optimizer's state of the same checkpoint.

    Args:
        verdict: the load's.
        definition: the definition that it was loaded into.
        factory: as ``pytest_ckpt_compat._definition.resume.resume`` takes it.
        policy: accepted breaks.
        checkpoint: the checkpoint as its file has it, for a loader of the project's own.
    """
    from pytest_ckpt_compat._definition.loader import loaded_by
    from pytest_ckpt_compat._definition.resume import resume

    saved = verdict.before or verdict.old
    if saved is None:
        return verdict
    try:
        if checkpoint is not None and definition.loader is not None:
            definition = loaded_by(checkpoint, definition, policy.memory_budget)
        if config_of(saved) is not None:
            problem = "is an adapter, which is checked without the state of an optimizer"
            raise BuildError(_source(saved), problem, "lower its level to backward")
        found = resume(saved, definition, factory, _renamed(verdict), policy.memory_budget)
    except Exception as error:  # the load's verdict stands
        return replace(verdict, changes=(*could_not_check(error).changes, *verdict.changes))
    changes = found.changes if verdict.new is None else grouped(found.changes, saved, verdict.new)
    changes = (*judge((*changes, *averaged(saved)), policy), *verdict.changes)
    return replace(verdict, changes=changes, notes=(*verdict.notes, *found.notes))


def _renamed(verdict: Verdict) -> dict[str, str]:
    """Maps the checkpoint's keys to the definition's, for the tensors that have another key there."""
    found = {old: new for change in verdict.changes for old, new in moves(change)}
    return found | {old: found.get(new, new) for old, new in verdict.remapped.items()}


def could_not_check(error: BaseException, name: str = "") -> Verdict:
    """The verdict on a checkpoint whose check raised an exception."""
    if isinstance(error, CkptCompatError):
        rule, detail = BY_ID[error.rule or "CK906"], str(error)
    else:
        rule, detail = BY_ID["CK908"], f"{located(error)}; please report it"
    found = Change(rule.kind, detail=detail, rule=rule.id, severity=rule.severity)
    return Verdict((found,), name=name)


def _source(structure: Structure) -> str:
    """``checkpoints/v1.pt[state_dict]``."""
    path, container = structure.source.path, structure.source.container
    return f"{path}[{container}]" if container else path
