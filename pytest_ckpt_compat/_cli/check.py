"""``ckpt-compat check``: checks every registered checkpoint, and runs no test."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._core.errors import COULD_NOT_CHECK, CkptCompatError

if TYPE_CHECKING:
    from pytest_ckpt_compat._check.checkpoint import Result
    from pytest_ckpt_compat._check.context import Context
    from pytest_ckpt_compat._check.contribution import Contribution
    from pytest_ckpt_compat._check.run import Outcome
    from pytest_ckpt_compat._pytest_plugin.collection import Project
    from pytest_ckpt_compat._pytest_plugin.marks import Marks
    from pytest_ckpt_compat._registry.registration import Registration


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "check",
        help="check every registered checkpoint; no test is run",
        description="Checks every registered checkpoint, and runs no test. Options that are not known here, "
        "and all after --, are passed on to pytest, which collects them.",
    )
    parser.add_argument(
        "--against", metavar="REF", help="fail on what this branch breaks since it left REF (origin/main)"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="-vv prints every key")
    help_of_report = (
        "write a report, by suffix: .json, .md, .html, .sarif, .codequality.json; may be given again"
    )
    parser.add_argument("--report", metavar="FILE", action="append", default=[], help=help_of_report)
    parser.add_argument(
        "--snapshots", action="store_true", help="check from the snapshot even where the file is present"
    )
    parser.set_defaults(run=run, passes_on=True)


def run(arguments: argparse.Namespace) -> int:
    """Prints the overview and writes the reports; returns the exit code."""
    from pytest_ckpt_compat._pytest_plugin.collection import in_project
    from pytest_ckpt_compat._report import publish
    from pytest_ckpt_compat._report.overview import render

    publish.begin(arguments.report)
    full = arguments.verbose >= 2
    paged = publish.have_pages(arguments.report)
    checked = in_project(
        lambda project: check(project, arguments.against, arguments.snapshots, full, paged=paged),
        arguments.pytest_args,
    )
    print(render(checked.outcome.report, checked.remarks, full))
    try:
        lines, written = publish.publish(checked.outcome.report, arguments.report, os.environ), True
    except CkptCompatError as error:  # the verdicts stand without it
        lines, written = [f"failed    {error}"], False
    print("\n".join(lines), end="\n" if lines else "")
    return checked.outcome.exit_code or (0 if written else COULD_NOT_CHECK)


@dataclass(frozen=True)
class Checked:
    """What a check of all registered checkpoints found.

    Attributes:
        results: one a registration, in order of collection.
        outcome: what they add up to.
        remarks: remarks on the whole, a line each.
    """

    results: tuple[Result, ...]
    outcome: Outcome
    remarks: tuple[str, ...]


def check(
    project: Project,
    ref: str | None,
    snapshots_only: bool = False,
    full: bool = False,
    only: Collection[str] | None = None,
    paged: bool = False,
) -> Checked:
    """Checks a project's registered checkpoints.

    Args:
        project: what was collected.
        ref: the reference that they are compared with, or None.
        snapshots_only: whether snapshots are used even where the files are present.
        full: whether texts list every key instead of folding.
        only: ids of the checkpoints that are checked; None for all.
        paged: whether the report has what a page of HTML shows.

    Raises:
        CkptCompatError: a registration cannot be meant, or the reference is not known.
    """
    with compared_with(project, ref) as context:
        context = replace(context, snapshots_only=snapshots_only, paged=paged)
        results, outcome = check_all(project, context, full, only, None if only is not None else False)
    return Checked(results, outcome, (*project.left_out, *outcome.lines))


@contextmanager
def compared_with(project: Project, ref: str | None) -> Iterator[Context]:
    """The project's context, with the merge base of ``ref`` if there is one."""
    if ref is None:
        yield project.context
        return
    from pytest_ckpt_compat._premerge.merge_base import GitMergeBase
    from pytest_ckpt_compat._pytest_plugin.merge_base_worker import serve

    merge_base = GitMergeBase(project.root, ref, project.context.folder, serve)
    try:
        yield replace(project.context, merge_base=merge_base)
    finally:
        merge_base.close()


def check_all(
    project: Project,
    context: Context,
    full: bool = False,
    only: Collection[str] | None = None,
    prune: bool | None = None,
) -> tuple[tuple[Result, ...], Outcome]:
    """Checks every registration, or those of the ids in ``only``, and concludes the run.

    ``prune`` is as ``conclude`` has it.
    """
    from pytest_ckpt_compat._check.run import conclude

    results, contributions = results_of(project, context, full, only)
    return results, conclude(contributions, context, project.complete, prune)


def results_of(
    project: Project, context: Context, full: bool = False, only: Collection[str] | None = None
) -> tuple[tuple[Result, ...], tuple[Contribution, ...]]:
    """Checks registrations as ``check_all`` does; returns what was found, and what it adds to the run."""
    from pytest_ckpt_compat._check import contribution
    from pytest_ckpt_compat._check.ahead import ahead
    from pytest_ckpt_compat._check.checkpoint import check_registered

    marks = project.marks
    registrations = [
        each
        for each in project.registrations
        if each.id not in marks.skipped and (only is None or each.id in only)
    ]
    results = []
    with ahead([] if context.snapshots_only else registrations) as remote:
        for number, each in enumerate(registrations, 1):
            place = f"{number} of {len(registrations)}"
            own = replace(context, doing=_counted(context.doing, place), reading=remote.reading)
            results.append(_expected(each, check_registered(each, own), marks))
    return tuple(results), (
        replace(contribution.of_registrations(project.registrations), skipped=marks.skipped),
        contribution.of_results(results, full, context.paged),
    )


def _counted(doing: Callable[[str], None], place: str) -> Callable[[str], None]:
    return lambda step: doing(f"{place}: {step}" if step else "")


def _expected(registration: Registration, result: Result, marks: Marks) -> Result:
    """The result, as the test's xfail mark has it."""
    from pytest_ckpt_compat._check.checkpoint import expected_to_break

    xfail = marks.xfailed.get(registration.id)
    return result if xfail is None else expected_to_break(result, xfail.reason, xfail.strict)
