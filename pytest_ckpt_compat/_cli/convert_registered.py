"""``ckpt-compat convert ID``: rewrites a registered checkpoint by the migrations of its registration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._convert.contents import Contents
    from pytest_ckpt_compat._convert.convert import Converted
    from pytest_ckpt_compat._convert.opened import Opened
    from pytest_ckpt_compat._definition.chain import Chain, Chosen
    from pytest_ckpt_compat._definition.find import Definition
    from pytest_ckpt_compat._pytest_plugin.collection import Project
    from pytest_ckpt_compat._registry.registration import Registration


def converted(project: Project, arguments: argparse.Namespace) -> tuple[Converted, Contents, tuple[str, ...]]:
    """Writes a registered checkpoint under its new keys.

    Returns: what was written, its contents, and remarks.

    Raises:
        CkptCompatError: it has no migration, or cannot be read, migrated or written.
    """
    from pytest_ckpt_compat._check import snapshots
    from pytest_ckpt_compat._check.averaged import copies
    from pytest_ckpt_compat._convert.convert import convert, require_target
    from pytest_ckpt_compat._convert.opened import opened
    from pytest_ckpt_compat._definition.find import find_registered
    from pytest_ckpt_compat._pytest_plugin.collection import registration_of

    otherwise = "for a file, give --rules, --remap or --model"
    registration = registration_of(project, arguments.old, otherwise)
    if arguments.key is not None:
        raise UsageError("--key", "was given with an id", "give key= where the checkpoint is registered")
    definition = find_registered(registration)
    chain = definition.remap
    if chain is None:
        raise _without_migration(registration, definition)
    if definition.parts:
        problem = "has several parts, and one state_dict is rewritten"
        raise UsageError(registration.id, problem, "convert each part with --key, and --rules or --remap")
    target = registration.path if arguments.in_place else Path(arguments.output)
    require_target(str(registration.path), target, arguments.in_place)
    structure, _ = snapshots.read(registration, definition)
    chosen = chain.for_file(structure)
    if not chosen.chain.links:
        problem = f"needs no migration: it is of version {chosen.version or registration.version}"
        raise UsageError(registration.id, problem, "keep the file as it is")
    source = opened(structure)
    contents = _contents(source, chosen.chain, registration, definition)
    left = tuple(map(_keeps_its_keys, copies(structure)))
    notes = (*source.notes, *chosen.notes, *left, *_with_version(contents, chain, chosen, target))
    done = convert(source, contents, target, lambda _done, _total: None)
    return done, contents, notes


def _keeps_its_keys(name: str) -> str:
    return (
        f"{name} in the file is a copy of the model and keeps its old keys: to convert it, too, give the new "
        f"file's path with --key {name} and --rules or --remap"
    )


def _without_migration(registration: Registration, definition: Definition) -> UsageError:
    """Says what to do instead: what a hook does at each load cannot be written into a file from outside."""
    own = getattr(definition.target, "on_load_checkpoint", None)
    package = str(getattr(own, "__module__", "")).partition(".")[0]
    if own is None or package in ("lightning", "pytorch_lightning"):
        advice = "give migrate= where it is registered; or --rules, --remap or --model with its path"
        return UsageError(registration.id, "is registered without a migration", advice)
    name = definition.name.rpartition(".")[2]
    problem = f"has no migration but {name}.on_load_checkpoint, which Lightning runs at each load"
    advice = (
        f"keep the file as it is; or load it with {name}.load_from_checkpoint and save it with "
        "trainer.save_checkpoint; or give migrate= where it is registered"
    )
    return UsageError(registration.id, problem, advice)


def _contents(source: Opened, chain: Chain, registration: Registration, definition: Definition) -> Contents:
    """What the new checkpoint holds; of rules alone, tensors are made when their turn comes."""
    from pytest_ckpt_compat._convert.contents import Contents, by_migrations
    from pytest_ckpt_compat._definition.build import build
    from pytest_ckpt_compat._migrate.rules import RulesError, applied, module_names

    rules = chain.links[0].rules
    prefix = registration.strip_prefix or ""
    if rules is not None and len(chain.links) == 1 and not prefix:
        try:
            steps = applied(rules, list(source.structure.tensors))
        except RulesError as error:
            raise UsageError(
                chain.name, f"does not fit {registration.shown}: {error}", "correct it"
            ) from error
        return Contents(source, steps, module_names(rules))
    module = None
    if any(link.takes_model for link in chain.links):
        module = build(definition, source.structure.values)
    return by_migrations(source, chain, module, prefix)


def _with_version(contents: Contents, chain: Chain, chosen: Chosen, target: Path) -> tuple[str, ...]:
    """Gives the new checkpoint the version that its last migration leads to, and remarks on that."""
    from pytest_ckpt_compat._convert.opened import names_at, replaced

    if chain.version is None:
        return (f"register {target} without migrate: what {', '.join(chain.names)} does is done",)
    last, place = chain.links[-1].to, str(chain.version)
    value: Any = int(last) if last.isdecimal() else last
    module, _, name = place.rpartition(".")
    modules = getattr(contents.state, "_metadata", {})
    names = names_at(contents.whole, place.split("."))
    if not chosen.version:
        return (f"register {target} with version={value!r}: nothing in it says that",)
    if place in contents.metadata:
        contents.metadata = {**contents.metadata, place: last}
    elif names:
        before: Any = contents.whole
        for each in names:
            before = before[each]
        value = value if isinstance(before, int) else last
        contents.whole = replaced(contents.whole, names, value)
    elif name == "_version" and module in modules:
        modules[module] = {**modules[module], "version": value}
    return (f"its {place} is now {value}",)
