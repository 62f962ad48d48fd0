"""``ckpt-compat update``: records snapshots, and runs no test."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.display import typed
from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._check.run import Outcome
    from pytest_ckpt_compat._check.verify import Standing
    from pytest_ckpt_compat._pytest_plugin.collection import Project


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "update",
        help="record snapshots; no test is run",
        description="Records the snapshots that are missing, and those of definitions that have changed; "
        "runs no test. The snapshot of a checkpoint is frozen: it is recorded anew only if its ID is given. "
        "Options that are not known here, and all after --, are passed on to pytest, which collects.",
    )
    parser.add_argument(
        "ids",
        metavar="ID",
        nargs="*",
        type=typed,
        help='a checkpoint whose file was replaced on purpose, or a glob over them ("run-*")',
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="write nothing; exit with 1 where a snapshot is not what an update would write (after a merge, "
        "in CI)",
    )
    parser.add_argument(
        "--against",
        metavar="REF",
        help="also take out what was accepted or retired and no comparison with REF needs any more",
    )
    parser.set_defaults(run=run, passes_on=True)


def run(arguments: argparse.Namespace) -> int:
    """Prints what failed and what was recorded, or would be; returns the exit code.

    Raises:
        UsageError: an id is not registered, or was given with ``--verify``, as a reference may not be.
        CkptCompatError: a file cannot be read.
    """
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    if arguments.verify:
        if arguments.ids:
            raise UsageError("--verify", "looks at every snapshot", f"leave {arguments.ids[0]} out")
        if arguments.against is not None:
            raise UsageError("--verify", "writes nothing", "leave --against out")
        standing, left_out = in_project(_verified, arguments.pytest_args)
        print("\n".join([*left_out, *standing.lines]))
        return standing.exit_code
    outcome, left_out = in_project(
        lambda project: _update(project, arguments.ids, arguments.against), arguments.pytest_args
    )
    failing = [entry.text for entry in outcome.report.of("broken", "unknown")]
    print("\n".join([*failing, *left_out, *outcome.lines]))
    return outcome.exit_code


def _verified(project: Project) -> tuple[Standing, tuple[str, ...]]:
    from pytest_ckpt_compat._check import verify
    from pytest_ckpt_compat._cli.check import results_of

    context = replace(project.context, update=True)
    results, contributions = results_of(project, context)
    return verify.standing(results, contributions, context, project.complete), project.left_out


def _update(project: Project, identifiers: Sequence[str], ref: str | None) -> tuple[Outcome, tuple[str, ...]]:
    from pytest_ckpt_compat._check.run import require_registered
    from pytest_ckpt_compat._cli.check import check_all, compared_with
    from pytest_ckpt_compat._premerge import ignored
    from pytest_ckpt_compat._registry import ids
    from pytest_ckpt_compat._snapshots import accepted_merge

    known = [each.id for each in project.registrations]
    identifiers = ids.meant(identifiers, known)
    require_registered(identifiers, known)
    settled = tuple(accepted_merge.settle(project.context.folder))
    with compared_with(project, ref) as compared:
        context = replace(compared, update=True, rewrite=frozenset(identifiers))
        outcome = check_all(project, context, prune=False)[1]
    return replace(
        outcome, lines=(*settled, *outcome.lines, *ignored.remarks(context.folder))
    ), project.left_out
