"""``ckpt-compat convert``: rewrites a checkpoint under new keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat._cli.progress import say
from pytest_ckpt_compat._core.display import count, size, visible
from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_ckpt_compat._convert.contents import Contents
    from pytest_ckpt_compat._convert.convert import Converted
    from pytest_ckpt_compat._convert.opened import Opened
    from pytest_ckpt_compat._core.structure import Structure
    from pytest_ckpt_compat._migrate.steps import Step

#: Most remarks of one kind that are printed.
_SHOWN = 5


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "convert",
        help="rewrite a checkpoint under new keys, and read it back",
        description="Writes OLD under new keys to another file, whole or not at all, a tensor at a time, "
        "and reads it back. Everything else in the file stays. No code from the file is run. With --model, "
        "only what is certain is applied; if anything is open, nothing is written.",
    )
    parser.add_argument(
        "old",
        metavar="OLD",
        help="a checkpoint; without --rules, --remap and --model, the id of a registered one, which is "
        "rewritten by the migrations that it is registered with",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="NEW",
        help="where to; the suffix gives the format: .pt .pth .bin .ckpt, .safetensors, or "
        ".safetensors.index.json for shards",
    )
    parser.add_argument("--in-place", action="store_true", help="replace OLD itself")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--rules", metavar="FILE", help="a file of rules, as migrate --style rules prints it")
    how.add_argument("--remap", metavar="MODULE:FUNCTION", help="a function: state_dict -> state_dict")
    how.add_argument("--model", metavar="MODULE:ATTR", help="the definition that is to load it")
    parser.add_argument("--key", help="dotted path of the state_dict in the file")
    parser.add_argument(
        "--choose",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="with --model: say which key or module became which, as for migrate (repeatable)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the checkpoint and says so; returns 0, or 1 if something is left to decide."""
    from pytest_ckpt_compat._convert.convert import convert, require_target
    from pytest_ckpt_compat._convert.opened import opened
    from pytest_ckpt_compat._definition.surroundings import search_path

    if bool(arguments.output) == arguments.in_place:
        raise UsageError("convert", "needs one target", "pass -o NEW, or --in-place to replace OLD")
    if not (arguments.rules or arguments.remap or arguments.model):
        return _by_registration(arguments)
    target = Path(arguments.old if arguments.in_place else arguments.output)
    require_target(arguments.old, target, arguments.in_place)
    with search_path(str(Path.cwd())):
        planned = _planned(arguments)
        if planned is None:
            return 1
        structure, make = planned
        source = opened(structure)
        contents = make(source)
        for note in source.notes:
            say(note)
        done = convert(source, contents, target, _progress(structure))
    _say_what_was_done(done, contents)
    return 0


def _say_what_was_done(done: Converted, contents: Contents) -> None:
    for note in done.notes:
        say(note)
    total = size(sum(spec.nbytes for spec in contents.specs.values()))
    say(f"wrote {done.files[-1]}: {count(done.tensors, 'tensor')}, {total}, read back")


def _by_registration(arguments: argparse.Namespace) -> int:
    """Writes a registered checkpoint by its migrations."""
    from pytest_ckpt_compat._cli.convert_registered import converted
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    if arguments.choose:
        raise UsageError("--choose", "was given without --model", "write the choice into the migration")
    done, contents, notes = in_project(lambda project: converted(project, arguments))
    for note in notes:
        say(note)
    _say_what_was_done(done, contents)
    return 0


def _planned(
    arguments: argparse.Namespace,
) -> tuple[Structure, Callable[[Opened], Contents]] | None:
    """The checkpoint, and what makes the contents of the new one; None if something is left to decide."""
    from pytest_ckpt_compat._cli.sides import read
    from pytest_ckpt_compat._convert.contents import Contents, by_migrations

    if arguments.choose and not arguments.model:
        raise UsageError(
            "--choose", "was given without --model", "write the choice into the rules or the function"
        )
    if arguments.model:
        return _by_model(arguments)
    structure = read(arguments.old, arguments.key)
    if arguments.remap:
        from pytest_ckpt_compat._definition.chain import Chain, chain_of

        chain = chain_of(arguments.remap, subject="convert") or Chain(())
        return structure, lambda source: by_migrations(source, chain)
    steps, names = _by_rules(arguments.rules, structure)
    return structure, lambda source: Contents(source, steps, names)


def _by_rules(path: str, structure: Structure) -> tuple[Sequence[Step], Callable[[str], str]]:
    """The steps that rules give, and what gives modules their new paths."""
    from pytest_ckpt_compat._migrate import toml_file
    from pytest_ckpt_compat._migrate.rules import RulesError, applied, module_names, usage

    rules = toml_file.read(Path(path))
    keys = list(structure.tensors)
    try:
        steps = applied(rules, keys)
    except RulesError as error:
        raise UsageError(
            path, f"does not fit {structure.source.path}: {error}", "correct the rules"
        ) from error
    idle = [use for use in usage(rules, keys)[0] if not use.used]
    for use in idle[:_SHOWN]:
        say(f"{path}: {use}")
    if len(idle) > _SHOWN:
        say(f"{path}: {len(idle) - _SHOWN} more match no key")
    return steps, module_names(rules)


def _by_model(arguments: argparse.Namespace) -> tuple[Structure, Callable[[Opened], Contents]] | None:
    """What a definition makes certain; None, after saying what is open, if that is not everything."""
    from pytest_ckpt_compat._check import migration
    from pytest_ckpt_compat._cli.sides import compared_with_definition
    from pytest_ckpt_compat._convert.contents import Contents
    from pytest_ckpt_compat._migrate.generate import open_lines
    from pytest_ckpt_compat._migrate.rules import Rules, RulesError, applied, module_names

    sides, notes = compared_with_definition(arguments.old, arguments.model, arguments.key)
    for note in notes:
        say(note)
    plan = migration.planned(sides, arguments.choose)
    lines, rules, doubts = list(open_lines(plan)), Rules(), tuple[str, ...]()
    if not lines:
        try:
            made = migration.migration(sides, plan, "rules")
        except RulesError as error:
            raise UsageError(arguments.old, f"cannot be converted by rules: {error}", "write code") from error
        lines = [f"not proven: {key}: {why}" for key, why in made.unproven.items()] + list(made.problems)
        rules, doubts = made.rules, migration.by_reason(made.cautions)
    if lines:
        for line in lines[:_SHOWN]:
            say(line)
        if len(lines) > _SHOWN:
            say(f"... and {len(lines) - _SHOWN} more: ckpt-compat migrate shows all")
        say("nothing was written: decide with --choose, or with --rules")
        return None
    for each in (*migration.dropped(plan), *(f"in doubt: {each}" for each in doubts)):
        say(each)
    steps = applied(rules, list(sides.old.tensors))
    return sides.old, lambda source: Contents(source, steps, module_names(rules))


def _progress(structure: Structure) -> Callable[[int, int], None]:
    """Shows how far it is, on a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return lambda _done, _total: None
    name = visible(Path(structure.source.path).name)

    def show(done: int, total: int) -> None:
        end = "\n" if done >= total else ""
        print(f"\rckpt-compat: {name} {size(done)} of {size(total)}   ", end=end, file=sys.stderr, flush=True)

    return show
