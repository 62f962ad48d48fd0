"""``ckpt-compat report merge``: the reports of a run's shards as one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "report",
        help="merge the JSON reports of a run's shards",
        description="Merges reports that were written as .json by the shards of a run, prints the whole, and "
        "exits as the whole run would have.",
    )
    parser.add_argument("action", choices=["merge"], help="what to do with them")
    parser.add_argument("files", metavar="FILE", nargs="+", help="a report, ending in .json")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        action="append",
        default=[],
        help="write the whole, by suffix: .json, .md, .html, .sarif, .codequality.json; may be given again",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the overview and writes the report; returns the exit code.

    Raises:
        ReadError: a file is no report.
        UsageError: the reports are not of one run.
        SnapshotError: the report cannot be written.
    """
    from pytest_ckpt_compat._report import merge, publish, reading
    from pytest_ckpt_compat._report.overview import render

    for name in arguments.output:
        publish.check_name(name)
    shards = [merge.Shard(name, reading.read(name)) for name in arguments.files]
    publish.begin(name for name in arguments.output if not _is_among(name, arguments.files))
    whole, code = merge.merged(shards)
    print(render(whole, whole.failures))
    for line in publish.publish(whole, arguments.output, os.environ):
        print(line)
    return code


def _is_among(name: str, files: Sequence[str]) -> bool:
    """Whether a report to be written is one of those that were read, which stays until it is replaced."""
    return any(os.path.realpath(name) == os.path.realpath(file) for file in files)
