"""``ckpt-compat diff``: compares two sides, each a checkpoint, a snapshot or a definition."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pytest_ckpt_compat._cli.sides import compare

if TYPE_CHECKING:
    from pytest_ckpt_compat._core.verdict import Verdict


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "diff", help="compare two checkpoints or definitions; if NEW is a definition, load OLD into it"
    )
    side = "a checkpoint, a snapshot, the id of a recorded checkpoint, or package.module:attr"
    parser.add_argument("old", metavar="OLD", help=side)
    parser.add_argument("new", metavar="NEW", help=side)
    parser.add_argument(
        "--format", choices=("text", "json", "html"), default="text", help="html: a page, as text for a file"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="-vv prints every key")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; returns the exit code."""
    full = arguments.verbose >= 2
    if arguments.format == "html":
        from pytest_ckpt_compat._report.html.page import require

        require("--format html")
    verdict = compare(arguments.old, arguments.new)
    if arguments.format == "json":
        from pytest_ckpt_compat._report.json import render as render_json

        print(render_json(verdict))
    elif arguments.format == "html":
        print(_page(verdict, full), end="")
    else:
        from pytest_ckpt_compat._report.text import render

        print(render(verdict, full))
    return verdict.exit_code


def _page(verdict: Verdict, full: bool) -> str:
    """The page of a single comparison, which is named by its two sides."""
    from dataclasses import replace

    from pytest_ckpt_compat._report.html.page import render
    from pytest_ckpt_compat._report.summary import Run, entry

    made = entry(verdict, full, paged=True)
    return render(Run((replace(made, id=verdict.name or verdict.old_label),), ""))
