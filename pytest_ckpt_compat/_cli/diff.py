"""``ckpt-compat diff``: compares two sides, each a checkpoint, a snapshot or a definition."""

from __future__ import annotations

import argparse

from pytest_ckpt_compat._cli.sides import compare


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "diff", help="compare two checkpoints or definitions; if NEW is a definition, load OLD into it"
    )
    side = "a checkpoint, a snapshot or package.module:attr"
    parser.add_argument("old", metavar="OLD", help=side)
    parser.add_argument("new", metavar="NEW", help=side)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="-vv prints every key")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; returns the exit code."""
    verdict = compare(arguments.old, arguments.new)
    if arguments.format == "json":
        from pytest_ckpt_compat._report.json import render as render_json

        print(render_json(verdict))
    else:
        from pytest_ckpt_compat._report.text import render

        print(render(verdict, full=arguments.verbose >= 2))
    return verdict.exit_code
