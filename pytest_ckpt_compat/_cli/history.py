"""``ckpt-compat history``: which commits changed a definition, and which broke a checkpoint."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._cli.models import KWARGS_HELP, model_of
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK

if TYPE_CHECKING:
    from pytest_ckpt_compat._history.code import History
    from pytest_ckpt_compat._history.questions import Model
    from pytest_ckpt_compat._history.walk import Ask
    from pytest_ckpt_compat._pytest_plugin.collection import Project


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "history",
        help="list the commits that changed a definition; find the one that broke a checkpoint",
        description="Builds a definition at each commit that touched the code, along first parents, and "
        "prints a line for each change: what changed, and whether the definition loads what the one before "
        "it saved. A commit at which it cannot be built is said and skipped.",
    )
    parser.add_argument("model", metavar="MODEL", help="package.module:attr")
    parser.add_argument("--kwargs", metavar="TABLE", help=KWARGS_HELP)
    parser.add_argument("--since", metavar="REV", help="begin with this commit, tag or branch")
    parser.add_argument(
        "--bisect",
        metavar="CHECKPOINT",
        help="find the commit that broke this checkpoint: a file, a snapshot, or the id of a registered one",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the table, or the commit that broke the checkpoint; returns the exit code.

    Raises:
        UsageError: the model, the reference or the checkpoint is not known.
        CkptCompatError: the checkpoint cannot be read.
    """
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    model_of(arguments.model, arguments.kwargs)
    work = _history if arguments.bisect is None else _bisect
    printed, code = in_project(
        lambda project: work(project, arguments), whole=False, tests=arguments.bisect is not None
    )
    print(printed)
    return code


def _history(project: Project, arguments: argparse.Namespace) -> tuple[str, int]:
    from pytest_ckpt_compat._history import lines
    from pytest_ckpt_compat._history.walk import begun, walk

    history = _opened(project, arguments)
    model = model_of(arguments.model, arguments.kwargs)
    with _asking(history, model, project.context.doing) as ask:
        steps = list(walk(history.commits, ask))
    if arguments.since is not None and steps:
        steps[0] = begun(steps[0], history.commits[0])
    notes = history.notes(steps)
    code = 0 if any(step.structure is not None for step in steps) else COULD_NOT_CHECK
    if arguments.format == "json":
        data = {
            "schema": lines.SCHEMA,
            "model": model.address,
            "kwargs": dict(model.kwargs),
            "commits": len(history.commits),
            "steps": [lines.data_of(step) for step in steps],
            "notes": notes,
        }
        return json.dumps(data, indent=2), code
    table = [*lines.table(steps), ""] if steps else []
    said = [lines.summary(steps, history.commits), *(f"note: {visible(note)}" for note in notes)]
    return "\n".join([*table, *said]), code


def _bisect(project: Project, arguments: argparse.Namespace) -> tuple[str, int]:
    from pytest_ckpt_compat._history.blame import blame, report, report_data
    from pytest_ckpt_compat._history.checkpoint import checkpoint

    name = arguments.bisect
    load, registered = checkpoint(name, project.registrations, project.context.folder)
    model = model_of(arguments.model, arguments.kwargs)
    if arguments.kwargs is None and registered is not None:
        model = replace(model, kwargs=registered)
    history = _opened(project, arguments)
    with _asking(history, model, project.context.doing) as ask:
        found = blame(history.commits, load, ask)
    if arguments.format == "json":
        return json.dumps(report_data(found, name, model.address), indent=2), found.exit_code
    notes = (f"note: {visible(note)}" for note in history.notes())
    return "\n".join([report(found, name, model.address), *notes]), found.exit_code


def _opened(project: Project, arguments: argparse.Namespace) -> History:
    from pytest_ckpt_compat._history.code import History

    return History.of(project.root, project.context.folder, arguments.model, arguments.since)


@contextmanager
def _asking(history: History, model: Model, doing: Callable[[str], None]) -> Iterator[Ask]:
    """Gives what asks a commit; ``doing`` is told which."""
    from pytest_ckpt_compat._history.builder import Builder

    builder = Builder()
    try:
        yield history.asked(builder, model, doing)
    finally:
        builder.close()
