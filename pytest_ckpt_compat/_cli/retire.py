"""``ckpt-compat retire``: a checkpoint that is no longer registered goes, with a reason."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.display import typed
from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._pytest_plugin.collection import Project


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "retire",
        help="take leave of a checkpoint whose registration was deleted",
        description="Removes what is left of a checkpoint whose registration was deleted: its snapshot, that "
        "of a definition that nothing else uses, and what was accepted of it. One accepted entry "
        "keeps the reason, for a comparison with a commit that still has the checkpoint. What a glob finds "
        "by its snapshot alone needs no registration to be deleted.",
    )
    parser.add_argument("id", metavar="ID", type=typed, help="the checkpoint, as its snapshot is named")
    parser.add_argument("--reason", required=True, type=typed, help="why; shown in the comparison")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Removes the snapshots, writes the entry, and prints what was done.

    Raises:
        UsageError: the checkpoint is registered, has no snapshot, or no reason is given.
        CkptCompatError: a file cannot be read or written.
    """
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    lines = in_project(lambda project: retire(project, arguments.id, arguments.reason), whole=False)
    print("\n".join(lines))
    return 0


def retire(project: Project, identifier: str, reason: str) -> list[str]:
    """Removes the snapshots and writes the entry; returns what was done, a line each.

    Raises: as ``run`` does.
    """
    from pytest_ckpt_compat._check.checkpoint import used_names
    from pytest_ckpt_compat._core.display import visible
    from pytest_ckpt_compat._snapshots import accepted, accepted_files, store
    from pytest_ckpt_compat._snapshots.shown import shown_folder

    folder = project.context.folder
    if not project.complete:
        problem = (*project.problems, *project.left_out, "not all tests were collected")[0]
        raise UsageError(f"retire {identifier}", f"cannot see every registration: {problem}", "mend it first")
    same = [each for each in project.registrations if each.id == identifier]
    if not all(each.by_glob and not each.there for each in same):  # else it goes with its snapshot
        raise UsageError(f"retire {identifier}", "is still registered", "delete its registration first")
    if not reason.strip(" ."):
        raise UsageError(f"retire {identifier}", "has no reason", 'say why: --reason "nobody loads it now"')
    used = {name for each in project.registrations if each.id != identifier for name in used_names(each)}
    left = store.unused(folder, used)
    own = store.checkpoint_name(identifier)
    if own not in left:
        candidates = ", ".join(store.identifier(name) for name in left if not store.is_definition(name))
        advice = f"without a registration are {candidates or 'no others'}"
        if not candidates:
            advice = f"if it was pruned, git restore {shlex.quote(os.path.relpath(folder / own))} first"
        raise UsageError(f"retire {identifier}", f"has no snapshot in {shown_folder(folder)}", advice)
    gone = [own, *(name for name in left if store.is_definition(name))]
    changes = tuple(f"{visible(store.identifier(name))} -> (none)" for name in gone)
    entry = accepted.Entry(visible(identifier), "CK901", "*", reason.strip(), None, changes)
    before = [each for each in accepted.load(folder) if each.id == entry.id]
    if before:
        accepted_files.drop(folder, before)
    written = accepted_files.save(folder, [entry])
    for name in gone:
        store.remove(folder, name)
    removed = [f"removed   {store.shown(folder, name)}" for name in gone]
    removed += [
        f"removed   {shown_folder(folder)}/{each.file}: the accepted {each.rule} {each.key}"
        for each in before
        if each.file not in written
    ]
    told = [f"wrote     {shown_folder(folder)}/{name}: commit it, too" for name in written]
    return [f"retired   {identifier}: {entry.reason}", *removed, *told, *(_empty(project) if same else ())]


def _empty(project: Project) -> Iterator[str]:
    """A line on each table whose glob finds nothing now that the last snapshot is gone: it would fail."""
    from pytest_ckpt_compat._registry import project_file
    from pytest_ckpt_compat._registry.paths import SearchPath
    from pytest_ckpt_compat._snapshots import store

    settings = project_file.read(project.root)
    recorded = tuple(store.recorded(project.context.folder))
    search = SearchPath(
        (project.root,), project.root, lambda: iter(recorded), settings.level, settings.memory_budget
    )
    known = {each.id for each in project.registrations}
    for each in project_file.registrations(settings, search):
        if each.problem is not None and each.id not in known:
            yield f"left      the table of {each.id} in {settings.file}, which finds nothing now: delete it"
