"""``ckpt-compat record``: records definitions as they were, so that a past without files is guarded."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._cli.models import KWARGS_HELP, ForTheModelBefore, model_of
from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._history.questions import Model
    from pytest_ckpt_compat._history.record import Recorded
    from pytest_ckpt_compat._pytest_plugin.collection import Project


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "record",
        help="record definitions as earlier commits or releases have them",
        description="Records a definition as a commit or a released package has it, in a frozen snapshot, "
        "and registers it: from then on, each check says whether today's code loads what was saved then. No "
        "file is needed. A release is installed into a folder of its own, without its requirements.",
    )
    parser.add_argument(
        "--at", metavar="REF", action="append", default=[], help="a tag, branch or commit (repeatable)"
    )
    parser.add_argument(
        "--package",
        metavar="NAME==VERSION",
        action="append",
        default=[],
        help="a release that pip can install (repeatable)",
    )
    parser.add_argument(
        "--model", metavar="MODEL", action="append", required=True, help="package.module:attr (repeatable)"
    )
    parser.add_argument(
        "--kwargs", metavar="TABLE", action=ForTheModelBefore, help=f"of the --model before it, {KWARGS_HELP}"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Records, registers and prints what was done; returns 2 where something could not be recorded.

    Raises:
        UsageError: neither a commit nor a release is given, or one of them is not known.
        CkptCompatError: a file cannot be read or written.
    """
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    if not arguments.at and not arguments.package:
        raise UsageError("record", "is given no past", "give --at REF, or --package NAME==VERSION")
    given = arguments.kwargs or {}
    models = tuple(model_of(address, given.get(n)) for n, address in enumerate(arguments.model))
    found = in_project(lambda project: _record(project, models, arguments), whole=False, tests=False)
    lines = [each.line for each in found]
    failed = any(each.failed for each in found)
    recorded = [each for each in found if not each.failed]
    if recorded:
        more, wrong = in_project(lambda project: _register(project, recorded), whole=False)
        lines, failed = [*lines, *more], failed or wrong
    print("\n".join(lines))
    return COULD_NOT_CHECK if failed else 0


def _record(project: Project, models: tuple[Model, ...], arguments: argparse.Namespace) -> list[Recorded]:
    import sys

    from pytest_ckpt_compat._history.record import Past

    others = (str(project.root), *(path for path in sys.path if path))
    past = Past(project.root, project.context.folder, models, others)
    return list(past.record(arguments.at, arguments.package, project.context.doing))


def _register(project: Project, recorded: list[Recorded]) -> tuple[list[str], bool]:
    """Registers what is not registered yet, and records today's definitions; says whether that failed."""
    from pytest_ckpt_compat._history.record import glob_of
    from pytest_ckpt_compat._registry import project_file
    from pytest_ckpt_compat._registry.paths import SearchPath
    from pytest_ckpt_compat._registry.tables import register_tables
    from pytest_ckpt_compat._snapshots import project_tables, store

    known = {each.id for each in project.registrations}
    tables: dict[str, dict[str, Any]] = {}
    for each in recorded:
        if each.id not in known:
            table = {"path": glob_of(each.model, each.id), "model": each.model.address}
            tables[table["path"]] = table | ({"kwargs": dict(each.model.kwargs)} if each.model.kwargs else {})
    lines: list[str] = []
    registrations = list(project.registrations)
    if tables:
        settings = project_file.read(project.root)
        file = project_tables.add(project.root, settings.file, list(tables.values()))
        lines += [f"added     {path} to {file}: {table['model']}" for path, table in tables.items()]
        search = SearchPath(
            (project.root,),
            project.root,
            lambda: store.recorded(project.context.folder),
            settings.level,
            settings.memory_budget,
        )
        registrations += register_tables(file, tables.values(), search)
    mine = {each.id for each in recorded}
    more, failed = _definitions(project, [each for each in registrations if each.id in mine])
    return [*lines, *more], failed


def _definitions(project: Project, registrations: list[Any]) -> tuple[list[str], bool]:
    """Records the definitions as they are today, where that was never done."""
    from dataclasses import replace

    from pytest_ckpt_compat._check import update
    from pytest_ckpt_compat._check.checkpoint import check_registered
    from pytest_ckpt_compat._core.changes import Severity
    from pytest_ckpt_compat._premerge import ignored
    from pytest_ckpt_compat._snapshots import store

    folder = project.context.folder
    context = replace(project.context, update=True)
    lines: dict[str, None] = {}
    failed = False
    for each in registrations:
        result = check_registered(each, context)
        for name, text in result.writes.items():
            if store.is_definition(name) and not store.exists(folder, name):
                lines |= dict.fromkeys(update.write(folder, name, text))
        for change in result.verdicts[0].of(Severity.INCOMPLETE):
            failed = True
            lines[f"failed    today's definition cannot be checked: {change.detail}"] = None
    return [*lines, *ignored.remarks(folder)], failed
